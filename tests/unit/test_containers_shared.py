"""Shared containers among processes: handles, concurrent changes, compound changes, deaths by SIGKILL."""

import os
import pickle
import signal
import warnings

import pytest
from children import finish

import procession
from procession import OwnerDiedWarning, StaleHandleError, _native, shared

METHODS = ["fork", "spawn", "forkserver"]


def count_up(d, items, names, count, times):
    for _ in range(times):
        d.incr("n")
        items.append(os.getpid())
        count.add()
    names.done = True


@pytest.mark.parametrize("method", METHODS)
def test_processes_share_containers(start, method):
    d, items, names, count = shared.dict(), shared.list(), shared.Namespace(), shared.counter()
    ctx = procession.get_context(method)
    workers = [start(ctx, count_up, d, items, names, count, 200) for _ in range(3)]
    assert [finish(worker) for worker in workers] == [0, 0, 0]
    assert (d["n"], len(items), count.value, names.done) == (600, 600, 600, True)
    assert {pid: items.count(pid) for pid in set(items)} == {worker.pid: 200 for worker in workers}


def test_a_pickled_container_is_the_same_one():
    d = shared.dict(a=1)
    again = pickle.loads(pickle.dumps(d))
    again["b"] = 2
    assert d == {"a": 1, "b": 2}
    assert again == d


def leave_inside(d):
    d["made"] = shared.list([shared.dict(deep=1)])


@pytest.mark.parametrize("method", METHODS)
def test_what_a_child_puts_in_outlives_the_child(start, method):
    d = shared.dict()
    assert finish(start(procession.get_context(method), leave_inside, d)) == 0
    _native.sweep()
    assert d["made"][0]["deep"] == 1
    objects = _native.fsck()["objects"]
    del d["made"]
    assert _native.fsck()["objects"] == objects - 2


def put_in_and_die(d, gate):
    inner = shared.dict(deep=shared.counter(3))
    d["kept"] = inner
    d["replaced"] = inner
    d["replaced"] = shared.list([inner])
    kept_by_me = [shared.dict(), shared.list([shared.set()])]
    gate.open()
    signal.pause()
    del kept_by_me


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_killed_holder_lets_go(start, method, gate):
    ready = gate()
    d = shared.dict()
    objects = _native.fsck()["objects"]
    child = procession.get_context("fork").Process(target=put_in_and_die, args=(d, ready))
    if method == "spawn":
        ready_lock = procession.get_context("spawn").Event()
        child = procession.get_context("spawn").Process(target=put_in_and_set, args=(d, ready_lock))
        child.start()
        assert ready_lock.wait(20)
        del ready_lock
    else:
        child.start()
        ready.wait()
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    child.close()
    _native.sweep()
    assert d["kept"]["deep"].value == 3
    assert d["replaced"][0]["deep"].value == 3
    report = _native.fsck()
    assert report["objects"] == objects + 3  # a dict, a counter, a list
    assert not report["leaked"] + report["inconsistent"]
    d.clear()
    assert _native.fsck()["objects"] == objects


def put_in_and_set(d, ready):
    class Opens:
        def open(self):
            ready.set()

    put_in_and_die(d, Opens())


def test_the_last_of_killed_holders_frees(start, gate):
    ready = gate()
    objects = _native.fsck()["objects"]

    def hold():
        d = shared.dict({number: shared.list([number]) for number in range(50)})
        for _ in range(2):
            if os.fork() == 0:
                ready.open()
                signal.pause()
        ready.open()
        signal.pause()
        del d

    leader = start(procession.get_context("fork"), hold)
    for _ in range(3):
        ready.wait()
    assert _native.fsck()["objects"] > objects + 50
    others = procession._native.children_of(leader.pid)
    for pid in [leader.pid, *others]:
        os.kill(pid, signal.SIGKILL)
    leader.join()

    def gone():
        _native.sweep()
        return _native.fsck()["objects"] == objects

    for _ in range(2000):
        if gone():
            break
        os.sched_yield()
    assert gone()


def write_forever(d, gate):
    gate.open()
    number = 0
    while True:
        number += 1
        d[number % 50] = (number % 50, bytes([number % 251]) * (number % 700), number)


def assert_whole(d):
    for key, (same, content, number) in d.items():
        assert key == same == number % 50
        assert content == bytes([number % 251]) * (number % 700)


@pytest.mark.parametrize("kills", [12])
def test_writers_killed_at_random_leave_whole_values_and_no_waiting(start, gate, kills):
    d = shared.dict()
    fork = procession.get_context("fork")
    for round_ in range(kills):
        ready = gate()
        writers = [start(fork, write_forever, d, ready) for _ in range(2)]
        for _ in writers:
            ready.wait()
        for _ in range(20 + round_ * 3):
            assert_whole(d)
        for writer in writers:
            writer.kill()
        for _ in range(5):
            assert_whole(d)
        d[0] = (0, b"", 0)
        for writer in writers:
            writer.join()
    assert_whole(d)


def test_a_compound_change_excludes_others(start):
    d = shared.dict(a=0, b=0)
    workers = [start(procession.get_context("fork"), move, d, 100) for _ in range(3)]
    for _ in range(200):
        with d.lock():
            assert d["a"] == -d["b"]
    assert [finish(worker) for worker in workers] == [0, 0, 0]
    assert (d["a"], d["b"]) == (300, -300)


def move(d, times):
    for _ in range(times):
        with d.lock():
            d["a"] = d["a"] + 1
            d["b"] = d["b"] - 1


def test_a_plain_change_waits_for_a_compound_one(start, gate):
    d, items = shared.dict(), shared.list()
    entered, changed = gate(), gate()

    def change():
        entered.open()
        d["x"] = 1
        items.append(1)
        del d["x"]
        changed.open()

    with d.lock(), items.lock():
        child = start(procession.get_context("fork"), change)
        entered.wait()
        d["mine"] = 1
        items.append("mine")
        assert d.get("mine") == 1
        assert not changed.is_open()
        assert "x" not in d
    changed.wait()
    assert finish(child) == 0
    assert (d, items) == ({"mine": 1}, ["mine", 1])


def test_the_lock_of_a_killed_holder_is_inherited(start, gate):
    d = shared.dict(a=1)
    entered = gate()

    def hold():
        with d.lock():
            d["a"] = 2
            entered.open()
            signal.pause()

    child = start(procession.get_context("fork"), hold)
    entered.wait()
    child.kill()
    child.join()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OwnerDiedWarning)
        d["b"] = 3
    assert d == {"a": 2, "b": 3}
    assert not d.lock().locked()


def test_an_interrupted_acquirer_holds_nothing(start):
    class Interrupted:
        def _settle(self):
            raise KeyboardInterrupt

    d = shared.dict()
    lock = d.lock()
    lock._container = Interrupted()
    for acquire in (lock.acquire, lock.__enter__):
        with pytest.raises(KeyboardInterrupt):
            acquire()
    other = start(procession.get_context("fork"), d.update, {"n": 1})
    assert finish(other) == 0
    assert d["n"] == 1


def test_a_lock_travels_with_its_container(start):
    d = shared.dict(n=0)
    lock = d.lock()
    workers = [start(procession.get_context("spawn"), add_under, lock, d) for _ in range(2)]
    assert [finish(worker) for worker in workers] == [0, 0]
    assert d["n"] == 100


def add_under(lock, d):
    for _ in range(50):
        with lock:
            d["n"] = d["n"] + 1


def test_update_with_a_function_calls_it_once(start):
    d = shared.dict(n=0)
    workers = [start(procession.get_context("fork"), apply_often, d) for _ in range(3)]
    assert [finish(worker) for worker in workers] == [0, 0, 0]
    assert d["n"] == 300


def apply_often(d):
    for _ in range(100):
        d.update("n", lambda value: value + 1)


def test_a_handle_of_a_freed_container_is_stale():
    handle = shared.dict()._handle()
    with pytest.raises(StaleHandleError):
        shared.dict._open(handle)


class Nosy:
    """An object whose end looks at the container that it was put into."""

    def __init__(self, d):
        self.d = d

    def __reduce__(self):
        return int, ()

    def __del__(self):
        self.d["seen"] = len(self.d)


def test_finalizers_may_use_the_container_at_any_moment():
    """Law of reentrancy: no Python object is made or freed while the container is locked."""
    d = shared.dict()
    for number in range(200):
        d[number] = Nosy(d)
        d.pop(number)
        d.setdefault(number, Nosy(d))
        d.update({number: Nosy(d)})
    assert "seen" in d
