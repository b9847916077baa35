"""Queues beyond the standard library's: ends of streams, many at once, taking, items of queues, descriptors."""

import asyncio
import gc
import multiprocessing
import os
import pickle
import queue
import resource
import select
import threading
import time
from multiprocessing import connection

import pytest
from children import finish

import procession
from procession.queues import ShutDown

fork = procession.get_context("fork")
METHODS = ["fork", "spawn", "forkserver"]


# ---- the end of a stream --------------------------------------------------------------------


def test_shutdown_lets_consumers_get_what_is_there():
    q = procession.Queue()
    q.put_many([1, 2, 3])
    q.shutdown()
    q.shutdown()
    for refused in (lambda: q.put(4), lambda: q.put_nowait(4), lambda: q.put_many([4])):
        with pytest.raises(ShutDown):
            refused()
    assert q.get() == 1
    assert q.get_many() == [2, 3]
    for refused in (q.get, q.get_nowait, q.get_many, lambda: q.get(timeout=1)):
        with pytest.raises(ShutDown):
            refused()
    assert list(q) == []


def test_shutdown_at_once_leaves_nothing():
    q = procession.JoinableQueue()
    q.put_many([1, 2, 3])
    q.shutdown(immediate=True)
    with pytest.raises(ShutDown):
        q.get()
    q.join()


def test_shutdown_is_the_interpreters_own_where_it_has_one():
    assert procession.queues.ShutDown is getattr(queue, "ShutDown", procession.queues.ShutDown)
    assert issubclass(ShutDown, Exception)
    assert type(pickle.loads(pickle.dumps(ShutDown("x")))) is ShutDown


@pytest.mark.parametrize("immediate", [False, True])
def test_shutdown_wakes_who_waits(start, immediate):
    empty, full = procession.Queue(), procession.Queue(1)
    full.put(0)

    def wait_for(act):
        try:
            act()
        except ShutDown:
            os._exit(7)

    children = [start(fork, wait_for, empty.get) for _ in range(3)]
    children += [start(fork, wait_for, lambda: full.put(1)) for _ in range(2)]
    time.sleep(0.05)  # most of them sleep by now; the outcome is the same if not
    empty.shutdown(immediate)
    full.shutdown(immediate)
    assert [finish(child) for child in children] == [7] * 5


def test_iterating():
    q = procession.Queue()
    q.put_many(range(10))
    q.shutdown()
    assert list(q) == list(range(10))


@pytest.mark.parametrize("method", METHODS)
def test_producers_end_the_stream(start, method):
    ctx = procession.get_context(method)
    q = ctx.Queue(5, producers=3)
    children = [start(ctx, produce, q, range(n * 100, n * 100 + 100)) for n in range(3)]
    assert sorted(q) == list(range(300))
    assert [finish(child) for child in children] == [0] * 3


def produce(q, items):
    with q.producer():
        for item in items:
            q.put(item)


def test_a_producer_that_is_killed_has_left(start):
    q = procession.Queue(producers=2)

    def die():
        with q.producer():
            q.put("last words")
            os.kill(os.getpid(), 9)

    assert finish(start(fork, die)) == -9
    assert finish(start(fork, produce, q, ["other"])) == 0
    assert sorted(q) == ["last words", "other"]


def test_a_producer_that_fails_has_left(start):
    q = procession.Queue(producers=1)
    with pytest.raises(ZeroDivisionError), q.producer():
        q.put(1)
        raise ZeroDivisionError
    assert list(q) == [1]


@pytest.mark.parametrize("producers", [0, -1, 1.5, "2"])
def test_a_number_of_producers_that_is_none(producers):
    with pytest.raises((TypeError, ValueError)):
        procession.Queue(producers=producers)


# ---- many at once ------------------------------------------------------------------------------


def test_many_at_once():
    q = procession.Queue()
    assert q.put_many(n for n in range(1000)) is None
    assert q.qsize() == 1000
    assert q.get_many(10) == list(range(10))
    assert q.get_many(max_items=1) == [10]
    assert q.get_many() == list(range(11, 1000))
    with pytest.raises(queue.Empty):
        q.get_many(block=False)
    with pytest.raises(queue.Empty):
        q.get_many(5, timeout=0.01)
    q.put_many([])
    assert q.empty()


def test_many_in_a_bounded_queue(start):
    q = procession.Queue(7)
    child = start(fork, lambda: q.put_many(range(1000)))
    got = []
    while len(got) < 1000:
        got += q.get_many(5)
    assert got == list(range(1000))
    assert finish(child) == 0
    with pytest.raises(queue.Full):
        q.put_many(range(10), block=False)
    with pytest.raises(queue.Full):
        q.put_many(range(10), timeout=0.02)


class Unopenable:
    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        return int, (f"no number {self.number}",)


def test_many_of_which_some_cannot_be_opened():
    """The others are there, in their order; each error is raised once, in its order, by whoever gets next."""
    q = procession.Queue()
    q.put_many([1, Unopenable("a"), [2], Unopenable("b"), 3])
    assert q.get_many() == [1, [2], 3]
    q.put("later")
    with pytest.raises(ValueError, match="no number a"):
        q.get()
    with pytest.raises(ValueError, match="no number b"):
        q.get_many(block=False)
    assert q.get() == "later"
    q.put_many([Unopenable("c"), Unopenable("d")])
    with pytest.raises(ValueError, match="no number c"):
        q.get_many()
    with pytest.raises(ValueError, match="no number d"):
        q.get_nowait()
    with pytest.raises(queue.Empty):
        q.get_nowait()


def test_errors_are_said_to_who_got_the_items(start):
    q = procession.Queue()
    q.put_many([1, Unopenable("a"), 2, 3])
    assert q.get_many(3) == [1, 2]
    assert finish(start(fork, get_three, q)) == 0
    with pytest.raises(ValueError, match="no number a"):
        q.get()


def get_three(q):
    assert q.get(timeout=20) == 3


@pytest.mark.parametrize("count", [0, -1])
def test_a_most_that_is_none(count):
    with pytest.raises(ValueError, match="max_items"):
        procession.Queue().get_many(count)


def test_many_of_which_one_is_refused():
    q = procession.Queue()
    with pytest.raises(TypeError):
        q.put_many([1, threading.Lock(), 3])
    assert q.empty()


# ---- queues as items, arguments, values -----------------------------------------------------------


@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue", "SimpleQueue"])
def test_a_queue_in_a_queue(kind):
    outer, inner = procession.Queue(), getattr(procession, kind)()
    outer.put({"reply to": inner})
    got = outer.get()["reply to"]
    assert type(got) is type(inner)
    got.put("hello")
    assert inner.get() == "hello"
    copy = pickle.loads(pickle.dumps(inner))
    inner.put(1)
    assert copy.get() == 1


@pytest.mark.parametrize("method", METHODS)
def test_a_queue_as_an_argument(start, method):
    ctx = procession.get_context(method)
    q, back = ctx.JoinableQueue(3), ctx.SimpleQueue()
    child = start(ctx, echo, q, back)
    for number in range(10):
        q.put([number])
    q.put(None)
    assert [back.get() for _ in range(10)] == [[n] for n in range(10)]
    assert finish(child) == 0
    q.join()


def echo(q, back):
    while (item := q.get()) is not None:
        back.put(item)
        q.task_done()
    q.task_done()


def test_a_queue_in_a_process_of_the_standard_library(start):
    ctx = multiprocessing.get_context("spawn")
    q, back = procession.JoinableQueue(), procession.Queue()
    child = start(ctx, echo, q, back)
    q.put("hi")
    q.put(None)
    assert back.get(timeout=20) == "hi"
    assert finish(child) == 0


class Stamped(procession.queues.Queue):
    """As programs add to the standard library's queue."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, ctx=procession.get_context(), **kwargs)
        self.stamp = "new"

    def __getstate__(self):
        return {"parent": super().__getstate__(), "stamp": self.stamp}

    def __setstate__(self, state):
        super().__setstate__(state["parent"])
        self.stamp = state["stamp"]


def test_a_subclass_with_a_state_of_its_own():
    q = Stamped(maxsize=2)
    q.stamp = "old"
    copy = pickle.loads(pickle.dumps(q))
    assert (type(copy), copy.stamp) == (Stamped, "old")
    copy.put(1)
    assert q.get() == 1


# ---- how it is doing -----------------------------------------------------------------------------


def test_the_age_of_what_came_back(eventually):
    """The oldest item is the one that the next get brings, from when it was put."""
    q = procession.JoinableQueue(redeliver=True)
    q.put("old")
    began = time.monotonic()
    with pytest.raises(ZeroDivisionError), q.taking():
        assert q.statistics().oldest_age is None
        eventually(lambda: time.monotonic() > began + 0.05)
        raise ZeroDivisionError
    q.put("new")
    assert q.statistics().oldest_age >= 0.04
    assert q.get() == "old"
    assert q.statistics().oldest_age >= 0


def test_statistics(start, eventually):
    q = procession.Queue(3)
    assert q.statistics().oldest_age is None
    q.put(1)
    assert 0 <= q.statistics().oldest_age < 60  # before anybody has got anything
    q.put("text")
    assert q.get() == 1
    now = q.statistics()
    assert (now.depth, now.puts, now.gets) == (1, 2, 1)
    assert now.bytes > 0
    assert 0 <= now.oldest_age < 60
    assert q.get() == "text"
    assert q.statistics().oldest_age is None
    child = start(fork, q.get)
    eventually(lambda: q.statistics().waiting_consumers == 1)
    q.put(0)
    assert finish(child) == 0


# ---- descriptors ---------------------------------------------------------------------------------


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_queues_have_no_descriptors():
    procession.Queue().put(1)
    before = open_descriptors()
    kept = []
    for number in range(50):
        for kind in (procession.Queue, procession.JoinableQueue, procession.SimpleQueue):
            q = kind()
            q.put(number)
            assert q.get() == number
            q.close()
            kept.append(q)
    assert open_descriptors() == before


def readable(*sources):
    return select.select(list(sources), [], [], 0)[0]


def test_a_descriptor_is_readable_while_there_are_items():
    before = open_descriptors()
    q, other = procession.Queue(), procession.Queue()
    assert q.fileno() == q.fileno() != other.fileno()
    assert readable(q, other) == []
    q.put(1)
    assert readable(q, other) == [q]
    q.put(2)
    assert q.get() == 1
    assert readable(q, other) == [q]
    assert q.get() == 2
    assert readable(q, other) == []
    other.put(1)
    assert readable(q, other) == [other]
    q.close()
    other.close()
    del q, other
    gc.collect()
    assert open_descriptors() == before


@pytest.mark.parametrize("call", ["qsize", "empty", "get"])
def test_a_producer_without_descriptors_rings_at_its_next_call(call):
    q = procession.Queue()
    q.fileno()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        q.put_many([1, 2])
        assert q.qsize() == 2
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert readable(q) == [], "it could not ring"
    getattr(q, call)()
    assert readable(q) == [q]
    q.get_many()
    assert readable(q) == []
    q.close()


def test_a_descriptor_becomes_readable(start):
    q = procession.Queue()
    q.fileno()

    def put_later():
        time.sleep(0.05)
        q.put("late")

    child = start(fork, put_later)
    assert select.select([q], [], [], 20)[0] == [q]
    assert q.get() == "late"
    assert finish(child) == 0
    q.close()


def test_waiting_for_several(start):
    queues = [procession.Queue() for _ in range(3)]
    child = start(fork, lambda: [q.put(n) for n, q in enumerate(queues)])
    got = {}
    while len(got) < 3:
        for q in connection.wait([*queues, child.sentinel], timeout=20):
            if q is not child.sentinel and q != child.sentinel:
                got[queues.index(q)] = q.get()
    assert got == {0: 0, 1: 1, 2: 2}
    assert finish(child) == 0
    for q in queues:
        q.close()


def test_a_forked_child_has_a_descriptor_of_its_own(start):
    q, back = procession.Queue(), procession.SimpleQueue()
    q.fileno()

    def wait():
        back.put("ready")
        back.put(bool(select.select([q], [], [], 20)[0]))
        back.put(q.get())

    child = start(fork, wait)
    assert back.get() == "ready"
    q.put("item")
    assert back.get() is True
    assert back.get() == "item"
    assert finish(child) == 0
    q.close()


def test_asyncio_on_three_queues(start):
    queues = [procession.Queue() for _ in range(3)]

    def feed(q, name):
        for number in range(50):
            q.put((name, number))
        q.put(None)

    async def main():
        loop = asyncio.get_running_loop()
        got, ended = [], asyncio.Event()
        left = set(queues)

        def drain(q):
            try:
                while True:
                    item = q.get_nowait()
                    if item is None:
                        loop.remove_reader(q.fileno())
                        left.discard(q)
                        if not left:
                            ended.set()
                        return
                    got.append(item)
            except queue.Empty:
                pass

        for q in queues:
            loop.add_reader(q.fileno(), drain, q)
        await asyncio.wait_for(ended.wait(), 30)
        return got

    children = [start(fork, feed, q, name) for name, q in enumerate(queues)]
    got = asyncio.run(main())
    assert sorted(got) == [(name, number) for name in range(3) for number in range(50)]
    assert [finish(child) for child in children] == [0] * 3
    for q in queues:
        q.close()
