"""Queue, JoinableQueue and SimpleQueue, as the standard library documents them."""

import importlib
import multiprocessing
import os
import queue
import sys
import threading
import time

import pytest
from children import finish

KINDS = ["Queue", "JoinableQueue", "SimpleQueue"]


@pytest.fixture
def make(ctx):
    """Makes queues, and closes them so that nothing of the standard library's stays behind."""
    made = []

    def make_one(kind="Queue", *args):
        made.append(getattr(ctx, kind)(*args))
        return made[-1]

    yield make_one
    for one in made:
        one.close()
        if hasattr(one, "join_thread"):
            one.join_thread()


def drained(q, count):
    return [q.get() for _ in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_items_come_in_their_order(make, kind):
    q = make(kind)
    for number in range(100):
        assert q.put(number) is None
    assert drained(q, 100) == list(range(100))


@pytest.mark.parametrize("kind", KINDS)
def test_between_processes(make, ctx, start, kind):
    there, back = make(kind), make(kind)

    def answer():
        while (item := there.get()) is not None:
            back.put(item * 2)
        back.put(None)

    child = start(ctx, answer)
    for number in range(500):
        there.put(number)
    there.put(None)
    assert drained(back, 500) == [2 * number for number in range(500)]
    assert back.get() is None
    assert finish(child) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_many_to_many(make, ctx, start, kind):
    jobs, results = make(kind), make(kind)

    def produce(first):
        for number in range(first, first + 200):
            jobs.put(number)

    def consume():
        while (item := jobs.get()) is not None:
            results.put(item)

    producers = [start(ctx, produce, first) for first in (0, 200, 400)]
    consumers = [start(ctx, consume) for _ in range(3)]
    assert sorted(drained(results, 600)) == list(range(600))
    for _ in consumers:
        jobs.put(None)
    assert [finish(process) for process in producers + consumers] == [0] * 6


@pytest.mark.parametrize("timeout", [0, -1, 0.0, 0.02])
def test_nothing_to_get(make, timeout):
    q = make()
    with pytest.raises(queue.Empty):
        q.get(timeout=timeout)
    with pytest.raises(queue.Empty):
        q.get(True, timeout)
    with pytest.raises(queue.Empty):
        q.get(block=False, timeout=timeout)
    with pytest.raises(queue.Empty):
        q.get_nowait()


@pytest.mark.parametrize("timeout", [0, -1, 0.0, 0.02])
def test_no_room_to_put(make, timeout):
    q = make("Queue", 2)
    q.put(1)
    q.put(2, True, timeout)
    with pytest.raises(queue.Full):
        q.put(3, timeout=timeout)
    with pytest.raises(queue.Full):
        q.put(3, False)
    with pytest.raises(queue.Full):
        q.put_nowait(3)
    assert q.full()
    assert drained(q, 2) == [1, 2]
    assert not q.full()


def test_timeouts_are_waited_out(make):
    q = make("Queue", 1)
    began = time.monotonic()
    with pytest.raises(queue.Empty):
        q.get(timeout=0.1)
    assert time.monotonic() - began >= 0.1
    q.put(1)
    began = time.monotonic()
    with pytest.raises(queue.Full):
        q.put(2, timeout=0.1)
    assert time.monotonic() - began >= 0.1
    assert q.get() == 1


def test_counts(make, eventually):
    q = make("Queue", 3)
    assert (q.qsize(), q.full()) == (0, False)
    assert q.empty()
    for number in range(3):
        q.put(number)
    eventually(lambda: not q.empty())
    assert (q.qsize(), q.full()) == (3, True)
    assert q.get() == 0
    assert (q.qsize(), q.full()) == (2, False)
    assert drained(q, 2) == [1, 2]
    eventually(q.empty)
    assert q.qsize() == 0


@pytest.mark.parametrize("maxsize", [0, -1, -100])
def test_without_a_bound(make, maxsize):
    q = make("Queue", maxsize)
    for number in range(1000):
        q.put_nowait(number)
    assert not q.full()
    assert q.qsize() == 1000
    assert drained(q, 1000) == list(range(1000))


@pytest.mark.parametrize("maxsize", ["3", 2.5, None, []])
def test_a_maxsize_that_is_no_integer(ctx, maxsize):
    for kind in ("Queue", "JoinableQueue"):
        with pytest.raises(TypeError):
            getattr(ctx, kind)(maxsize)


@pytest.mark.parametrize("timeout", ["soon", []])
def test_a_timeout_that_is_no_number(make, timeout):
    q = make("Queue", 1)
    q.put(1)
    with pytest.raises(TypeError):
        q.put(2, timeout=timeout)
    with pytest.raises(TypeError):
        q.get(timeout=timeout)
    assert q.get() == 1


@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue"])
def test_a_closed_queue_refuses(ctx, kind):
    q = getattr(ctx, kind)()
    with pytest.raises(AssertionError, match="not closed"):
        q.join_thread()
    q.close()
    for refused in (lambda: q.put(1), q.get, lambda: q.put_nowait(1), q.get_nowait):
        with pytest.raises(ValueError, match=r"^Queue <.*> is closed$"):
            refused()
    q.close()
    q.join_thread()
    q.cancel_join_thread()


def test_a_closed_simple_queue_refuses(ctx):
    q = ctx.SimpleQueue()
    q.close()
    q.close()
    for refused in (lambda: q.put(1), q.get, q.empty):
        with pytest.raises(OSError, match="handle is closed"):
            refused()
    assert q._reader.closed
    assert q._writer.closed


def test_what_was_put_before_close_arrives(ctx, start):
    q = ctx.Queue()

    def leave():
        q.put("x" * 1_000_000)
        q.close()
        q.join_thread()

    child = start(ctx, leave)
    assert q.get(timeout=20) == "x" * 1_000_000
    assert finish(child) == 0
    q.close()
    q.join_thread()


def test_task_done_and_join(make, ctx, start):
    q, seen = make("JoinableQueue"), make()

    def work():
        while (item := q.get()) is not None:
            seen.put(item)
            q.task_done()
        q.task_done()

    workers = [start(ctx, work) for _ in range(3)]
    for number in range(30):
        q.put(number)
    q.join()
    assert sorted(drained(seen, 30)) == list(range(30))
    for _ in workers:
        q.put(None)
    q.join()
    assert [finish(worker) for worker in workers] == [0] * 3
    with pytest.raises(ValueError, match=r"^task_done\(\) called too many times$"):
        q.task_done()
    q.join()


def test_join_waits(make):
    q = make("JoinableQueue")
    q.put(1)
    done = threading.Event()
    waiter = threading.Thread(target=lambda: (q.join(), done.set()))
    waiter.start()
    assert q.get() == 1
    assert not done.wait(0.05)
    q.task_done()
    assert done.wait(20)
    waiter.join()


def test_threads_share_a_queue(make):
    q, out = make("Queue", 5), []
    consumers = [threading.Thread(target=lambda: out.extend(iter(q.get, None))) for _ in range(2)]
    producers = [
        threading.Thread(target=lambda base=base: [q.put(base + n) for n in range(100)]) for base in (0, 100)
    ]
    for thread in consumers + producers:
        thread.start()
    for thread in producers:
        thread.join()
    for _ in consumers:
        q.put(None)
    for thread in consumers:
        thread.join()
    assert sorted(out) == list(range(200))


def test_a_get_that_waits_is_woken(make, ctx, start):
    q, back = make(), make()
    child = start(ctx, lambda: back.put(q.get()))
    time.sleep(0.05)  # most likely it waits by now; the outcome is the same if not
    q.put("hello")
    assert back.get(timeout=20) == "hello"
    assert finish(child) == 0


def test_a_put_that_waits_is_woken(make, ctx, start):
    q = make("Queue", 1)
    q.put(0)
    child = start(ctx, lambda: [q.put(number) for number in (1, 2, 3)])
    time.sleep(0.05)  # as above
    assert drained(q, 4) == [0, 1, 2, 3]
    assert finish(child) == 0


class Odd:
    """Equal by its parts; pickled as any object."""

    def __init__(self, *parts):
        self.parts = parts

    def __eq__(self, other):
        return type(other) is Odd and self.parts == other.parts

    __hash__ = None


class SubInt(int):
    pass


class SubDict(dict):
    pass


SHARED = [1, 2]
OBJECTS = [
    None,
    True,
    False,
    0,
    -1,
    127,
    128,
    -128,
    -129,
    2**31,
    -(2**31),
    2**63 - 1,
    -(2**63),
    2**63,
    10**40,
    -(10**400),
    0.5,
    float("inf"),
    -0.0,
    3 + 4j,
    "",
    "text",
    "größer ☃ 🐍",
    "\ud800",
    "\0",
    b"",
    b"\0\xff",
    bytearray(b"abc"),
    bytearray(range(256)) * 1000,
    (),
    (1, "a", (None, (b"x", (2.5, (1, (2, (3,))))))),
    [],
    [1, [2, [3]]],
    list(range(5000)),
    {},
    {"a": 1, 2: "b", None: (1, 2), (1, 2): b"c"},
    {"nested": {"list": [1, 2]}},
    {1, 2, 3},
    frozenset("abc"),
    range(10),
    slice(1, 2),
    Ellipsis,
    NotImplemented,
    int,
    len,
    Odd(1, [2], {"3": Odd()}),
    SubInt(7),
    SubDict(a=1),
    "x" * 100_000,
    b"y" * 1_000_000,
    ("z" * 20_000, b"z" * 40_000),
    os.path.join,
]


@pytest.mark.parametrize("value", OBJECTS, ids=lambda value: type(value).__name__)
def test_objects_travel(make, value):
    for kind in ("Queue", "SimpleQueue"):
        q = make(kind)
        if kind == "SimpleQueue" and len(repr(value)) > 30_000:
            continue  # the standard library's is a pipe that nobody else reads from
        q.put(value)
        got = q.get()
        assert got == value
        assert type(got) is type(value)


def test_identity_within_an_item(make):
    q = make()
    q.put([SHARED, SHARED, {"again": SHARED}])
    first, second, third = q.get()
    assert first is second is third["again"]
    circle = []
    circle.append(circle)
    q.put(circle)
    got = q.get()
    assert got[0] is got


def test_subclasses(ctx, mp):
    module = importlib.import_module(f"{mp.__name__}.queues")

    class Named(module.Queue):
        def __init__(self, name, *, ctx):
            super().__init__(3, ctx=ctx)
            self.title = name

        def put(self, obj, block=True, timeout=None):
            super().put((self.title, obj), block, timeout)

    q = Named("first", ctx=ctx)
    q.put(1)
    assert q.get() == ("first", 1)
    for number in range(3):
        q.put(number)
    assert q.full()
    assert [q.get()[1] for _ in range(3)] == [0, 1, 2]
    q.close()
    q.join_thread()


def test_generic_aliases(mp):
    module = importlib.import_module(f"{mp.__name__}.queues")
    for kind in ["SimpleQueue"] if sys.version_info < (3, 12) and mp is multiprocessing else KINDS:
        alias = getattr(module, kind)[int]
        assert alias.__origin__ is getattr(module, kind)
        assert alias.__args__ == (int,)


def test_an_error_while_feeding_goes_to_the_hook(ctx, mp, eventually):
    module = importlib.import_module(f"{mp.__name__}.queues")
    refused = []

    class Hooked(module.Queue):
        @staticmethod
        def _on_queue_feeder_error(error, obj):
            refused.append((type(error), obj))

    q = Hooked(ctx=ctx)
    item = Refuses()
    q.put(item)
    q.put("fine")
    assert q.get(timeout=20) == "fine"
    eventually(lambda: refused)
    assert refused == [(ZeroDivisionError, item)]
    q.close()
    q.join_thread()


class Refuses:
    def __reduce__(self):
        raise ZeroDivisionError
