"""Shared objects inside items: they live as long as the item does, and no longer, whoever is killed."""

import contextlib
import gc
import os
import queue
import signal

import pytest
from children import finish

import procession
from procession import _native, shared

METHODS = ["fork", "spawn", "forkserver"]
fork = procession.get_context("fork")


def arena():
    """What lives in the arena, swept: objects, and how many of them are pinned."""
    procession.Lock()  # so that there is an arena, whichever test comes first
    gc.collect()
    _native.sweep()
    report = _native.fsck()
    assert not report["inconsistent"]
    assert not report["leaked"]
    assert not report["garbage"]
    return report["objects"], report["pinned"]


def blocks():
    return _native.fsck()["blocks"]


KINDS = {
    "Lock": procession.Lock,
    "RLock": procession.RLock,
    "Semaphore": procession.Semaphore,
    "Event": procession.Event,
    "Condition": procession.Condition,
    "Barrier": lambda: procession.Barrier(2),
    "Queue": procession.Queue,
    "JoinableQueue": procession.JoinableQueue,
    "Value": lambda: procession.Value("i", 3),
    "RawValue": lambda: procession.RawValue("i", 3),
    "Array": lambda: procession.Array("i", 3),
    "dict": shared.dict,
    "list": lambda: shared.list([shared.dict()]),
    "counter": shared.counter,
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_lives_as_long_as_the_item(kind):
    q = procession.Queue()
    before = arena()
    for _ in range(3):
        q.put((1, KINDS[kind]()))  # nobody else holds it
        assert arena()[0] > before[0]
        number, found = q.get()
        assert number == 1
        assert type(found) is type(KINDS[kind]())
        del found
        assert arena() == before


def test_a_million_locks_need_no_more_memory_than_one():
    """A hundredth of them: what would be left by each is counted exactly."""
    q = procession.Queue()

    def pass_on(count):
        for _ in range(count):
            q.put(procession.Lock())
            q.get()

    pass_on(3000)  # more than a chunk of the queue's, which keeps a spare one from then on
    before, held = arena(), blocks()
    pass_on(10_000)
    assert arena() == before
    assert blocks() <= held


def test_many_objects_in_one_item_and_many_items():
    q, before = procession.Queue(), arena()
    locks = [procession.Lock() for _ in range(5000)]  # a list of more than a span
    locks[7].acquire()
    q.put_many([locks, {"again": locks[:3]}, locks[0]])
    del locks
    assert arena() == (before[0] + 5000, before[1])
    many, again, first = q.get_many()
    assert many[7].locked()
    assert [lock._handle() for lock in again["again"]] == [lock._handle() for lock in many[:3]]
    assert first._handle() == many[0]._handle()
    del many, again, first
    assert arena() == before


def test_queues_in_queues_in_queues():
    before = arena()
    outer = innermost = procession.Queue()
    for _ in range(50):
        outer, inner = procession.Queue(), outer
        outer.put(inner)
    innermost.put("deep")
    del innermost, inner
    for _ in range(20):
        outer = outer.get()
    assert arena()[0] == before[0] + 31
    del outer  # and with it what it holds, thirty deep
    assert arena() == before


def dropped_with_the_queue(q):
    q.put_many([procession.Lock(), [procession.Event()], bytes(100_000)])


def dropped_at_shutdown(q):
    dropped_with_the_queue(q)
    q.shutdown(immediate=True)


def found_no_room(q):
    q.put(procession.Lock())
    with contextlib.suppress(queue.Full):
        while True:
            q.put(procession.Lock(), block=False)


def could_not_be_opened(q):
    q.put([procession.Lock(), Unopenable()])
    with pytest.raises(ZeroDivisionError):
        q.get()


class Unopenable:
    def __reduce__(self):
        return int.__truediv__, (1, 0)


def could_not_be_pickled(q):
    with pytest.raises(TypeError):
        q.put([procession.Lock(), Unpicklable()])


class Unpicklable:
    def __reduce__(self):
        raise TypeError("never")


@pytest.mark.parametrize(
    "leave",
    [dropped_with_the_queue, dropped_at_shutdown, found_no_room, could_not_be_opened, could_not_be_pickled],
)
def test_what_is_not_got_goes_too(leave):
    before = arena()
    leave(procession.Queue(100))
    assert arena() == before


def test_an_object_that_many_items_name():
    """Such as the queue for their answers: one object, and it goes with the last that names it."""
    q, before = procession.Queue(), arena()
    answers = procession.Queue()
    for number in range(1000):
        q.put((number, answers))
    assert arena() == (before[0] + 1, before[1])
    for number in range(1000):
        found, back = q.get()
        back.put(found)
        assert answers.get() == number
    del answers, back
    assert arena() == before


def test_an_object_that_very_many_items_name_is_kept():
    q, answers = procession.Queue(), procession.Queue()
    objects, pinned = arena()
    q.put_many([[answers] for _ in range(4200)])
    assert arena() == (objects, pinned + 1)
    for _ in range(4200):
        (back,) = q.get()
    assert back._handle() == answers._handle()
    del back, answers
    assert arena() == (objects, pinned + 1)


def test_an_item_within_an_item():
    """A reducer that puts another item: each keeps its own."""
    q, before = procession.Queue(), arena()
    q.put([procession.Lock(), Putting(q), procession.Event()])
    del q  # the second item goes with it

    q = procession.Queue()
    q.put([procession.Lock(), Putting(q), procession.Event()])
    inner, (lock, answer, event) = q.get(), q.get()
    assert lock.acquire(False)
    assert answer == "put"
    assert not event.is_set()
    assert inner.acquire(False)
    inner.release()
    del q, inner, lock, event
    assert arena()[1] == before[1]


class Putting:
    def __init__(self, q):
        self.q = q

    def __reduce__(self):
        self.q.put(procession.RLock())
        shared.list([procession.Lock()])
        return str, ("put",)


def test_an_object_travels_on_when_its_maker_has_ended(start):
    """Made, put and forgotten by one process; used by another."""
    for method in METHODS:
        ctx, before = procession.get_context(method), arena()
        q = ctx.Queue()
        assert finish(start(ctx, put_things, q)) == 0
        lock, value, inner = q.get(timeout=20)
        with lock:
            assert value.value == 7
        assert inner.get(timeout=20) == "letter"
        del q, lock, value, inner
        assert arena() == before


def put_things(q):
    inner = procession.Queue()
    inner.put("letter")
    q.put([procession.Lock(), procession.Value("i", 7), inner])


# ---- deaths -----------------------------------------------------------------------------------


def put_for_ever(q, started):
    lock = procession.Lock()
    started.set()
    while True:
        q.put([lock, procession.Event()])


def get_for_ever(q, started):
    started.set()
    while True:
        lock, event = q.get()
        with lock:
            event.set()


def kill(child):
    os.kill(child.pid, signal.SIGKILL)
    assert finish(child) == -signal.SIGKILL


def test_putters_and_getters_killed_at_random(start):
    """Every item that is there can be opened, and in the end nothing is left of all of them."""
    before = arena()
    q = fork.Queue(20)
    for round_ in range(12):
        started = fork.Event()
        work = put_for_ever if round_ % 2 else get_for_ever
        victim, other = (
            start(fork, work, q, started),
            start(fork, get_for_ever if round_ % 2 else put_for_ever, q, started),
        )
        started.wait(20)
        for _ in range(10 + 7 * round_):
            with contextlib.suppress(queue.Full):
                q.put([procession.Lock(), procession.Event()], timeout=0.001)
        kill(victim)
        kill(other)
        with contextlib.suppress(queue.Empty):
            while True:
                lock, event = q.get(block=False)
                # Of an item that is whole: a dead getter may have held the lock, never the item.
                assert lock.acquire(timeout=20)
                lock.release()
                event.is_set()
        del started
    del q, lock, event
    assert arena() == before


def take_and_die(q, taken):
    items = q.get_many(2)
    taken.set()
    assert items
    signal.pause()


def test_a_dead_consumers_item_comes_again_with_all_that_is_enclosed(start):
    """Redelivery: neither the first receiver's end nor its acknowledgement takes anything from the next one."""
    before = arena()
    letters = fork.Queue()
    q = fork.JoinableQueue(redeliver=True, max_deliveries=2, dead_letter=letters)
    taken = fork.Event()
    q.put_many([[procession.Lock(), bytes(100_000)], [procession.Lock()]])
    victim = start(fork, take_and_die, q, taken)
    assert taken.wait(20)
    kill(victim)
    lock, content = q.get(timeout=20)
    assert q.last_delivery == 2
    assert content == bytes(100_000)
    q.task_done()
    with lock:
        pass
    with contextlib.suppress(ZeroDivisionError), q.taking() as (second,):
        raise ZeroDivisionError
    with second:  # its item is no more: the handle is
        pass
    del second
    with pytest.raises(queue.Empty):
        q.get(block=False)
    (third,) = letters.get(timeout=20)
    with third:
        pass
    q.join()
    del q, letters, lock, third, taken
    assert arena() == before


def hold_permits(semaphore, held):
    semaphore.acquire()
    semaphore.acquire()
    held.set()
    signal.pause()


@pytest.mark.filterwarnings("ignore:process .* died holding")
def test_messages_hold_no_permits(start):
    """A semaphore's holders and its messages are in one ledger: only what processes hold comes back."""
    q, semaphore, held = fork.Queue(), fork.Semaphore(3), fork.Event()
    q.put_many([semaphore] * 5)
    semaphore.acquire()
    victim = start(fork, hold_permits, semaphore, held)
    assert held.wait(20)
    assert semaphore.get_value() == 0
    kill(victim)
    assert semaphore.acquire(timeout=20)
    assert semaphore.get_value() == 1
    for found in q.get_many(5):
        assert found.get_value() == 1
    semaphore.release()
    semaphore.release()
    assert semaphore.get_value() == 3


def kind_of(found, *_):
    return type(found).__name__


class Holder:
    """A function that refers to a lock."""

    def __init__(self):
        self.lock = procession.Lock()

    def __call__(self, _):
        with self.lock:
            return os.getpid()


@pytest.mark.parametrize("method", METHODS)
def test_an_object_lives_as_long_as_the_task_that_it_is_an_argument_of(method):
    before = arena()
    with procession.get_context(method).Pool(1) as pool:
        pool.apply(int)
        with_pool = arena()
        for _ in range(3):
            assert pool.apply(kind_of, (procession.Lock(),)) == "Lock"
        calls = [pool.apply_async(kind_of, (procession.Event(), number)) for number in range(20)]
        assert {call.get(30) for call in calls} == {"Event"}
        assert set(pool.map(kind_of, [shared.dict() for _ in range(20)])) == {"dict"}
        assert len(set(pool.map(Holder(), range(20)))) == 1
        assert len(set(pool.map(Holder(), range(20)))) == 1
        del calls
        pool.map(int, range(20))  # the worker has dropped what it had before
        assert arena()[1] == with_pool[1]
        functions = 2  # are kept by the worker, for their next call
        assert arena()[0] <= with_pool[0] + functions
    pool.join()
    assert arena() == before


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the pool's thread forks a new worker
def test_a_task_whose_worker_dies_brings_its_objects_along_again(tmp_path):
    before = arena()
    with fork.Pool(2) as pool:
        locks = [procession.Lock() for _ in range(30)]
        shot = [str(tmp_path / str(number)) for number in range(30)]
        assert pool.starmap(die_first, zip(locks, shot, strict=True), retries=1, chunksize=1) == ["Lock"] * 30
        del locks
    pool.join()
    assert arena() == before


def die_first(lock, path):
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        with lock:
            return type(lock).__name__
    return os.kill(os.getpid(), signal.SIGKILL)


def make(kind, *_):
    return KINDS[kind]()


class Refusal(Exception):
    """What a task raises, with a lock of its own."""


def refuse(_):
    raise Refusal(procession.Lock(), "no")


def mix(shared_by_all):
    """A shared object that everybody has, new ones, a large buffer and one that lies in the arena."""
    born = procession.empty(100_000)
    born[:] = 7
    return [shared_by_all, [procession.Lock() for _ in range(3000)], bytearray(b"x" * 100_000), born]


def unopenable(_):
    return [procession.Lock(), Unopenable()]


@pytest.mark.parametrize("method", METHODS)
def test_an_object_lives_as_long_as_the_result_that_it_comes_in(method):
    before, event = arena(), procession.Event()
    with procession.get_context(method).Pool(1) as pool:
        pool.apply(int)
        with_pool = arena()
        for kind, another in KINDS.items():
            found = pool.apply(make, (kind,))
            assert type(found) is type(another())
            del found
        results = pool.map(make, ["Lock"] * 500)
        for lock in results:
            assert lock.acquire(False)
        assert arena()[0] >= with_pool[0] + 500
        same, locks, buffer, born = pool.apply(mix, (event,))
        assert same._handle() == event._handle()
        assert len({lock._handle() for lock in locks}) == 3000
        assert buffer == b"x" * 100_000
        assert born.sum() == 700_000
        with pytest.raises(Refusal) as raised:
            pool.apply(refuse, (1,))
        assert raised.value.args[0].acquire(False)
        with pytest.raises(ZeroDivisionError):
            pool.apply(unopenable, (1,))
        del results, lock, same, locks, buffer, born, raised
        pool.apply(int)  # the worker has dropped what it had before
        assert arena() == with_pool
    pool.join()
    del event
    assert arena() == before


def make_and_die(number):
    if number % 10 == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return [procession.Lock(), number]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the pool's thread forks a new worker
def test_results_of_workers_that_died_since():
    """What was put down is there, with all that it encloses; what was not leaves nothing behind."""
    before = arena()
    with fork.Pool(2) as pool:
        calls = [pool.apply_async(make_and_die, (number,)) for number in range(100)]
        for number, call in enumerate(calls):
            if number % 10 == 9:
                with pytest.raises(procession.WorkerDiedError):
                    call.get(30)
            else:
                lock, found = call.get(30)
                assert found == number
                assert lock.acquire(False)
        del calls, call, lock
        with_pool = arena()
        assert with_pool[1] == before[1]
    pool.join()
    assert arena() == before


def test_results_that_nobody_takes():
    before = arena()
    with fork.Pool(2) as pool:
        pool.map_async(make, ["Lock"] * 400, chunksize=1)
        pool.map_async(bytes, [100_000] * 400, chunksize=1)
        pool.map_async(mix, [1] * 4, chunksize=1)
        pool.apply(make, ("Lock",))
    pool.join()
    assert arena() == before
