"""Arrays in the arena: sent as themselves, had in common, shared; and freed with their last holder, whoever dies."""

import copy
import gc
import os
import pickle
import signal

import numpy as np
import pytest
from children import finish

import procession
from procession import _native, shared

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forks beside a pool's collector

fork = procession.get_context("fork")
spawn = procession.get_context("spawn")

MEBI = 1 << 17
"""Elements of eight bytes: as much as is worth sharing."""


def born(count=20_000, dtype=np.int64):
    array = procession.empty(count, dtype)
    array[:] = np.arange(count)
    return array


def same_memory(one, other):
    return one.__array_interface__["data"] == other.__array_interface__["data"]


def objects():
    gc.collect()
    if not _native.has_arena():
        return 0
    _native.sweep()
    report = _native.fsck()
    assert not report["inconsistent"], report
    assert not report["leaked"], report
    assert not report["garbage"], report
    return report["objects"]


@pytest.fixture
def q():
    made = procession.Queue()
    yield made
    made.close()


# ---- procession.empty -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "dtype", "order"),
    [(3, float, "C"), ((2, 3), "i2", "F"), ((), "u1", "C"), ((0, 5), np.float32, "C"), (np.int64(4), "i4,f8", "C")],
)  # fmt: skip
def test_empty_makes_what_numpy_makes(shape, dtype, order):
    ours, theirs = procession.empty(shape, dtype, order), np.empty(shape, dtype, order)
    assert type(ours) is np.ndarray
    for aspect in ("shape", "dtype", "nbytes", "strides" if theirs.size else "size"):
        assert getattr(ours, aspect) == getattr(theirs, aspect)
    assert ours.flags.f_contiguous == theirs.flags.f_contiguous
    assert ours.flags.writeable
    assert ours.flags.aligned


@pytest.mark.parametrize("make", [procession.empty, shared.array])
def test_what_cannot_be_made(make):
    with pytest.raises(TypeError, match="refers to Python objects"):
        make(3, object)
    with pytest.raises(ValueError, match="negative dimensions"):
        make((2, -1))
    with pytest.raises(TypeError):
        make(2.5)
    with pytest.raises(MemoryError):
        make(1 << 60)


def test_a_queue_hands_over_the_very_memory(q):
    array = born()
    q.put(array)
    got = q.get()
    assert type(got) is np.ndarray
    assert same_memory(array, got)
    got[0] = -1
    assert array[0] == -1


@pytest.mark.parametrize(
    "part",
    [lambda a: a[5000:], lambda a: a.reshape(100, 200)[3:90], lambda a: a.view(np.uint8), lambda a: a.reshape(100, 200).T],
    ids=["slice", "rows", "other type", "transposed"],
)  # fmt: skip
def test_a_part_in_one_piece_is_handed_over(q, part):
    array = born()
    sent = part(array)
    q.put({"part": sent, "and": [1]})
    got = q.get()["part"]
    assert same_memory(sent, got)
    assert got.strides == sent.strides
    assert (got == sent).all()


def test_what_was_received_is_handed_on(q):
    array = born()
    for _ in range(3):
        q.put(array)
        got = q.get()
        assert same_memory(array, got)
        array = got


def through_pipe(obj):
    ours, theirs = procession.Pipe()
    with ours, theirs:
        ours.send(obj)
        return theirs.recv()


def through(obj):
    q = procession.Queue()
    q.put(obj)
    return q.get()


def through_again(obj):
    q = procession.JoinableQueue(redeliver=True)
    q.put(obj)
    got = q.get()
    q.task_done()
    return got


@pytest.mark.parametrize(
    "send",
    [lambda a: pickle.loads(pickle.dumps(a)), copy.copy, through_pipe, lambda a: through(a[::2])[:1], through_again],
    ids=["pickle", "copy", "pipe", "not in one piece", "redelivered"],
)  # fmt: skip
def test_everything_else_goes_by_value(send):
    array = born(9000)
    got = send(array)
    got[0] = -1
    assert array[0] == 0


def test_memory_of_values_and_arrays_goes_by_value(q):
    """Who looks at a shared ctypes array through numpy and sends that sends what is there now."""
    raw = procession.RawArray("d", 20_000)
    view = np.frombuffer(raw)
    q.put(view)
    got = q.get()
    got[0] = 1
    assert view[0] == 0


def test_memory_is_freed_with_the_last_holder(q):
    before = objects()
    array = born()
    q.put_many([array, array[100:], [array]])
    assert objects() == before + 1
    del array
    got = q.get_many()
    assert objects() == before + 1
    last = got[2][0]
    del got
    assert last[5] == 5
    del last
    assert objects() == before


def test_messages_that_nobody_takes_keep_it_as_long_as_their_queue():
    before = objects()
    q = procession.Queue()
    q.put(born())
    assert objects() == before + 2
    q.shutdown(immediate=True)
    assert objects() == before + 1
    del q
    q = procession.Queue()
    q.put(born())
    q.close()
    del q
    assert objects() == before


def test_a_put_that_fails_keeps_nothing():
    before = objects()
    q = procession.Queue(1)
    q.put(0)
    with pytest.raises(procession.queues.Full):
        q.put(born(), timeout=0)
    assert q.get() == 0
    del q
    assert objects() == before


def test_an_item_keeps_the_objects_that_it_refers_to(q):
    before, pinned = objects(), _native.fsck()["pinned"]
    q.put({"lock": procession.Lock(), "value": procession.Value("i", 7), "queue": procession.Queue()})
    assert objects() == before + 3
    item = q.get()
    assert item["value"].value == 7
    del item
    assert objects() == before
    assert _native.fsck()["pinned"] == pinned


# ---- with other processes, and their deaths -------------------------------------------------


def test_it_outlives_its_maker(q):
    """It lies in the queue when its maker is killed, and when the next one has left."""

    def make(last_act):
        q.put(born())
        last_act()

    for last_act in (lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: None):
        process = fork.Process(target=make, args=(last_act,))
        process.start()
        process.join()
        got = q.get()
        assert (got == np.arange(20_000)).all()
        del got


def test_a_killed_receiver_gives_it_back(q):
    holds = fork.Event()
    before = objects()

    def receive():
        got = q.get()
        holds.set()
        signal.pause()
        del got

    process = fork.Process(target=receive)
    process.start()
    q.put(born())
    assert holds.wait(30)
    during = objects()
    process.kill()
    process.join()
    assert objects() == before < during


def test_children_by_fork_share_it():
    array = born()
    process = fork.Process(target=lambda: array.__setitem__(0, 5))
    process.start()
    finish(process)
    assert array[0] == 5


def double(array):
    array *= 2
    return array


def make_born(count):
    return born(count)


def test_pools_hand_it_over():
    before = objects()
    with fork.Pool(2) as pool:
        array = born()
        results = pool.map(double, [array[:10_000], array[10_000:]], chunksize=1)
        assert (array == np.arange(20_000) * 2).all()
        assert (results[1] == array[10_000:]).all()
        made = pool.map(make_born, [5000, 6000, 7000], chunksize=1)
        assert [len(each) for each in made] == [5000, 6000, 7000]
        assert all((each == np.arange(len(each))).all() for each in made)
        pool.map(make_born, [1])
        del made, results, array
    del pool
    assert objects() == before


def test_a_worker_that_dies_with_it_loses_its_task_alone():
    before = objects()
    array = born()
    with fork.Pool(1) as pool:
        with pytest.raises(procession.WorkerDiedError):
            pool.apply(die_with, (array,))
        assert pool.apply(double, (array,))[1] == 2
    del pool, array
    assert objects() == before


def die_with(array):
    os.kill(os.getpid(), signal.SIGKILL)


# ---- one array to several -------------------------------------------------------------------


def test_what_several_items_have_in_common_is_copied_once(q):
    array = np.arange(MEBI)
    before = objects()
    q.put_many([array, [array, "and"], np.arange(MEBI), bytearray(1 << 20)])
    assert objects() == before + 1
    one, (two, _), three, four = q.get_many()
    one[0], two[1], two[-1] = -1, -2, -3
    assert (one[1:] == array[1:]).all()
    assert (two[2:-1] == array[2:-1]).all()
    assert (array == np.arange(MEBI)).all()
    assert (three == array).all()
    assert len(four) == 1 << 20
    assert one.flags.writeable
    del one, two, _
    assert objects() == before
    small = np.arange(10_000)
    q.put_many([small, small])
    assert objects() == before
    assert all((each == small).all() for each in q.get_many())


def write_and_sum(array):
    before = int(array.sum())
    array[0] += 1
    after = int(array.sum())
    array[0] -= 1  # tasks that came in one message share what they share
    return before, after


@pytest.mark.parametrize("star", [False, True], ids=["map", "starmap"])
def test_one_array_for_every_task_of_a_map(star):
    array = np.arange(MEBI)
    expected = (int(array.sum()), int(array.sum()) + 1)
    before = objects()
    with fork.Pool(2) as pool:
        if star:
            results = pool.starmap(write_and_sum, [(array,)] * 6, chunksize=1)
        else:
            results = pool.map(write_and_sum, [array] * 6, chunksize=1)
        assert results == [expected] * 6
        assert array[0] == 0
    del pool
    assert objects() == before


def test_receivers_of_a_common_array_are_killed(q):
    array, holds = np.arange(MEBI), fork.Semaphore(0)
    before = objects()

    def receive():
        got = q.get()
        got[0] = 5
        holds.release()
        signal.pause()

    processes = [fork.Process(target=receive) for _ in range(2)]
    for process in processes:
        process.start()
    q.put_many([array] * 3)
    for _ in processes:
        assert holds.acquire(timeout=30)
    for process in processes:
        process.kill()
        process.join()
    assert objects() == before + 1
    got = q.get()
    assert (got == array).all()
    del got
    assert objects() == before


# ---- procession.shared.array ----------------------------------------------------------------


def test_a_shared_array_is_zeros_and_a_numpy_array():
    ours = shared.array((3, 4), np.float32, order="F")
    assert isinstance(ours, np.ndarray)
    assert ours.dtype == np.float32
    assert ours.flags.f_contiguous
    assert (ours == 0).all()
    ours[1] = 7
    assert ours.sum() == 28
    assert type(ours.sum()) is np.float32
    for computed in (ours + 1, np.sqrt(ours), ours[[0, 1]], ours[ours > 0], ours.copy(), copy.deepcopy(ours)):
        assert type(computed) is np.ndarray
    ours += 1
    assert type(ours) is type(ours[0]) is type(ours.T) is type(shared.array(1))
    assert ours[1, 1] == 8


VIEWS = {
    "whole": lambda a: a,
    "slice": lambda a: a[2:5, ::2],
    "reversed": lambda a: a[::-1],
    "transposed": lambda a: a.T,
    "other type": lambda a: a.view("u4"),
}


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_travels_as_what_it_shows(q, view):
    array = shared.array((6, 8), np.int64)
    array[:] = np.arange(48).reshape(6, 8)
    sent = VIEWS[view](array)
    q.put(sent)
    got = q.get()
    assert type(got) is type(array)
    assert got.strides == sent.strides
    assert (got == sent).all()
    got[...] = 99
    assert (sent == 99).all()


def fill(array, at):
    array[at] = at


@pytest.mark.parametrize("context", [fork, spawn, procession.get_context("forkserver")], ids=str)
def test_processes_write_into_one_array(context):
    before = objects()
    array = shared.array(4, "i4")
    processes = [context.Process(target=fill, args=(array, at)) for at in range(1, 4)]
    for process in processes:
        process.start()
    for process in processes:
        finish(process)
    assert array.tolist() == [0, 1, 2, 3]
    del array, processes, process
    assert objects() == before


def test_a_container_keeps_it():
    before = objects()
    d = shared.dict()
    d["array"] = shared.array(3)
    d["array"][1] = 5
    assert d["array"].tolist() == [0, 5, 0]
    del d["array"]
    assert objects() == before + 1


def test_killed_holders_of_a_shared_array_free_it():
    holds = fork.Event()
    before = objects()

    def hold(array):
        array[0] = 1
        holds.set()
        signal.pause()

    array = shared.array(100_000)
    process = fork.Process(target=hold, args=(array,))
    process.start()
    assert holds.wait(30)
    del array
    during = objects()
    process.kill()
    process.join()
    del process
    assert objects() == before < during


def test_a_pickle_of_its_own_keeps_it():
    array = shared.array(3)
    pickled = pickle.dumps(array[1:])
    pickle.loads(pickled)[0] = 4
    assert array[1] == 4
