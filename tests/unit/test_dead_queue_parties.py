"""Queues whose producers and consumers are killed: hazards H7 to H12 and H24."""

import contextlib
import os
import pickle
import queue
import select
import signal
import time

import pytest
from children import finish

import procession
from procession import _native, connection

METHODS = ["fork", "spawn", "forkserver"]
SIZES = [100, 200_000]


@pytest.fixture(params=METHODS)
def ctx(request):
    return procession.get_context(request.param)


fork = procession.get_context("fork")


def kill(child):
    os.kill(child.pid, signal.SIGKILL)
    assert finish(child) == -signal.SIGKILL


def is_asleep(child):
    with open(f"/proc/{child.pid}/wchan") as file:
        return "futex" in file.read()


def get_for_ever(q):
    while True:
        q.get()


def put_for_ever(q, item):
    while True:
        q.put(item)


def numbered(number, size):
    return number, bytes([number % 251]) * size


def put_numbered(q, size):
    """The first thing that it says is how many it has put."""
    number = 0
    while True:
        q.put(numbered(number, size))
        number += 1


def test_a_consumer_killed_while_it_waits(ctx, start, eventually):
    """H9: the others go on."""
    q, back = ctx.Queue(), ctx.Queue()
    victims = [start(ctx, get_for_ever, q) for _ in range(2)]
    survivor = start(ctx, echo, q, back)
    eventually(lambda: q.statistics().waiting_consumers == 3)
    for victim in victims:
        kill(victim)
    for number in range(20):
        q.put(number)
    q.put(None)
    assert [back.get(timeout=20) for _ in range(20)] == list(range(20))
    assert finish(survivor) == 0


def echo(q, back):
    while (item := q.get()) is not None:
        back.put(item)


@pytest.mark.parametrize("size", [16 << 20])
def test_a_producer_killed_in_the_middle_of_a_large_put(ctx, start, size):
    """H10: the torn item does not exist; nothing of its memory stays."""
    _native.sweep()
    before = _native.fsck()["blocks"]
    q = ctx.Queue(2)
    for patience in (0.0, 0.004, 0.011, 0.03):
        victim = start(ctx, put_numbered, q, size)
        assert q.get(timeout=20)[0] == 0
        time.sleep(patience)  # anywhere in a put, or waiting for room
        kill(victim)
        expected = 1
        with contextlib.suppress(queue.Empty):
            while True:
                number, content = q.get(timeout=0)
                assert (number, content) == numbered(expected, size)
                expected += 1
        q.put("fine")
        assert q.get() == "fine"
    q = content = None
    _native.sweep()
    assert _native.fsck()["blocks"] <= before


def test_what_a_dead_producer_has_put_is_there(ctx, start):
    """H8: put is complete when it returns; a child that has put 4 MB ends at once, or is killed."""
    q = ctx.Queue()
    child = start(ctx, put_all, q, [b"x" * 4_000_000, "last"])
    assert finish(child) == -signal.SIGKILL
    assert q.get(timeout=20) == b"x" * 4_000_000
    assert q.get(timeout=20) == "last"


def put_all(q, items):
    for item in items:
        q.put(item)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(300)
@pytest.mark.parametrize("size", SIZES)
def test_two_hundred_dead_consumers(start, size):
    """Nothing is lost but what the dead had taken, and nothing comes twice or out of order."""
    q = fork.Queue(50)
    last = fork.RawValue("q", -1)

    def consume():
        while True:
            number, content = q.get()
            assert content == numbered(number, size)[1]
            assert number > last.value
            last.value = number

    number = 0
    for _ in range(200):
        victim = start(fork, consume)
        until = last.value + 3
        while last.value < until:
            with contextlib.suppress(queue.Full):
                q.put(numbered(number, size), timeout=5)
                number += 1
        kill(victim)
        victim.close()
    taken = last.value
    rest = [q.get_nowait()[0] for _ in range(q.qsize())]
    assert rest == list(range(number - len(rest), number))
    assert number - len(rest) - taken in (1, 2), "one item at most dies with each consumer"


@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(300)
@pytest.mark.parametrize("size", SIZES)
def test_two_hundred_dead_producers(start, size):
    """What each has put arrives whole and in order; the queue goes on."""
    q = fork.Queue(20)
    for _ in range(200):
        victim = start(fork, put_numbered, q, size)
        expected = 0
        for _ in range(3):
            assert q.get(timeout=20) == numbered(expected, size)
            expected += 1
        kill(victim)
        victim.close()
        with contextlib.suppress(queue.Empty):
            while True:
                assert q.get_nowait() == numbered(expected, size)
                expected += 1
    _native.sweep()
    report = _native.fsck()
    assert not report["inconsistent"]
    assert not report["leaked"]


@pytest.mark.parametrize("size", SIZES)
def test_a_consumer_killed_with_what_it_has_received(start, size):
    """Its memory comes back."""
    _native.sweep()
    before = _native.fsck()["blocks"]
    q, ready = fork.Queue(), fork.SimpleQueue()

    def hoard():
        kept = [q.get() for _ in range(20)]
        ready.put(len(kept))
        time.sleep(1000)

    child = start(fork, hoard)
    q.put_many(bytearray(size) for _ in range(20))
    assert ready.get() == 20
    kill(child)
    assert q.empty()
    q = ready = None
    _native.sweep()
    assert _native.fsck()["blocks"] <= before


# ---- acknowledgements ------------------------------------------------------------------


def take_and_die(q, items=1):
    for _ in range(items):
        q.get()
    os.kill(os.getpid(), signal.SIGKILL)


def take_and_leave(q):
    q.get()


def finish_all(q, back):
    for item in q:
        back.put((item, q.last_delivery))
        q.task_done()


def test_an_item_of_a_dead_consumer_is_delivered_again(ctx, start):
    """H11: at the head, with a delivery count."""
    q = ctx.JoinableQueue(redeliver=True)
    q.put_many(["first", "second", b"x" * 100_000])
    assert finish(start(ctx, take_and_die, q)) == -signal.SIGKILL
    assert q.get(timeout=20) == "first"
    assert q.last_delivery == 2
    q.task_done()
    assert q.get(timeout=20) == "second"
    assert q.last_delivery == 1
    q.task_done()
    assert finish(start(ctx, take_and_die, q)) == -signal.SIGKILL
    assert q.get(timeout=20) == b"x" * 100_000
    assert q.last_delivery == 2
    q.task_done()
    q.join()


def test_an_item_of_a_dead_consumer_is_there_at_once(start):
    """Also for who does not wait, and before anybody has collected the dead one."""
    q = fork.JoinableQueue(redeliver=True)
    q.put("item")
    child = start(fork, take_and_die, q)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert q.get_nowait() == "item"
    q.task_done()
    with pytest.raises(queue.Empty):
        q.get_nowait()
    assert finish(child) == -signal.SIGKILL


def test_an_item_of_a_consumer_that_ends_cleanly_is_delivered_again(ctx, start):
    q = ctx.JoinableQueue(redeliver=True)
    q.put("item")
    assert finish(start(ctx, take_and_leave, q)) == 0
    assert q.get(timeout=20) == "item"
    assert q.last_delivery == 2
    q.task_done()
    q.join()


def test_join_raises_for_what_died_with_a_consumer(ctx, start):
    """H12: without redelivery join() does not wait for the dead."""
    q = ctx.JoinableQueue()
    q.put_many([1, 2])
    child = start(ctx, take_and_die, q)
    assert finish(child) == -signal.SIGKILL
    with pytest.raises(
        procession.OwnerDiedError, match=f"process {child.pid} died with items of this Joinable"
    ):
        q.join()
    assert q.get() == 2
    q.task_done()
    with pytest.raises(procession.OwnerDiedError) as caught:
        q.join()
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), again.pid, str(again)) == (type(caught.value), child.pid, str(caught.value))
    with pytest.raises(TypeError):
        again.recover()
    q.task_done()  # for the dead
    q.join()
    with pytest.raises(ValueError, match="too many times"):
        q.task_done()


def test_join_waits_for_what_is_delivered_again(ctx, start):
    """H12: resolves as soon as somebody finishes the item."""
    q, back = ctx.JoinableQueue(redeliver=True), ctx.Queue()
    q.put_many(range(20))
    victims = [start(ctx, take_and_die, q, 2) for _ in range(3)]
    assert [finish(victim) for victim in victims] == [-signal.SIGKILL] * 3
    survivor = start(ctx, finish_all, q, back)
    q.join()
    q.shutdown()
    assert finish(survivor) == 0
    done = dict(back.get() for _ in range(20))
    assert sorted(done) == list(range(20))
    assert sum(deliveries - 1 for deliveries in done.values()) == 6


def test_a_dead_letter(start):
    letters = fork.Queue()
    q = fork.JoinableQueue(redeliver=True, max_deliveries=2, dead_letter=letters)
    q.put_many(["poison", "fine"])
    for _ in range(2):
        assert finish(start(fork, take_and_die, q)) == -signal.SIGKILL
    assert q.get(timeout=20) == "fine"
    q.task_done()
    assert letters.get(timeout=20) == "poison"
    q.join()
    copy = pickle.loads(pickle.dumps(q))
    copy.put("again")
    with pytest.raises(ZeroDivisionError), copy.taking():
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), copy.taking():
        raise ZeroDivisionError
    with pytest.raises(queue.Empty):
        copy.get(timeout=0)
    assert letters.get(timeout=20) == "again"


def test_a_dead_letter_is_there_as_soon_as_it_was_given_back_too_often():
    letters = fork.Queue()
    q = fork.JoinableQueue(redeliver=True, max_deliveries=1, dead_letter=letters)
    q.put("item")
    with pytest.raises(ZeroDivisionError), q.taking():
        raise ZeroDivisionError
    assert letters.get(timeout=30) == "item"


def test_without_a_queue_for_them_dead_letters_are_dropped():
    q = fork.JoinableQueue(redeliver=True, max_deliveries=1)
    q.put(b"x" * 100_000)
    with pytest.raises(ZeroDivisionError), q.taking():
        raise ZeroDivisionError
    with pytest.raises(queue.Empty):
        q.get(block=False)
    q.join()


def test_taking():
    q = fork.JoinableQueue(redeliver=True)
    q.put_many(["a", "b"])
    with q.taking() as first, q.taking() as second:
        assert (first, second) == ("a", "b")
    q.join()
    q.put_many(["c", "d"])
    with pytest.raises(ZeroDivisionError), q.taking(), q.taking():
        raise ZeroDivisionError
    assert q.get_many() == ["c", "d"]
    assert q.last_delivery == 2
    q.task_done()
    q.task_done()
    q.join()


def test_taking_where_nothing_is_delivered_again():
    q = fork.JoinableQueue()
    q.put("a")
    with pytest.raises(ZeroDivisionError), q.taking():
        raise ZeroDivisionError
    q.join()
    assert q.empty()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_deliveries": 2}, ValueError),
        ({"dead_letter": fork.Queue()}, ValueError),
        ({"redeliver": True, "max_deliveries": 0}, ValueError),
        ({"redeliver": True, "max_deliveries": "2"}, TypeError),
        ({"redeliver": True, "dead_letter": queue.Queue()}, TypeError),
    ],
)
def test_terms_that_make_no_sense(options, error):
    with pytest.raises(error):
        fork.JoinableQueue(**options)


@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(300)
@pytest.mark.parametrize("size", SIZES)
def test_consumers_that_die_and_lose_nothing(start, size):
    """With redelivery every item is finished at least once, whoever dies."""
    q, done = fork.JoinableQueue(redeliver=True), fork.Queue()

    def work():
        while True:
            number, content = q.get()
            assert (number, content) == numbered(number, size)
            done.put(number)
            q.task_done()

    q.put_many(numbered(number, size) for number in range(300))
    finished = []
    for _ in range(60):
        victim = start(fork, work)
        finished.append(done.get(timeout=20))
        kill(victim)
        victim.close()
    survivor = start(fork, work)
    q.join()
    kill(survivor)
    finished += [done.get() for _ in range(done.qsize())]
    assert sorted(set(finished)) == list(range(300))
    assert len(finished) - 300 <= 61


# ---- who sleeps on the descriptor ------------------------------------------------------------------


def take_and_wait(q, taken):
    q.get()
    taken.set()
    signal.pause()


def redelivering_with_a_victim(start):
    q, taken = fork.JoinableQueue(redeliver=True), fork.Event()
    q.fileno()
    q.put("item")
    victim = start(fork, take_and_wait, q, taken)
    assert taken.wait(20)
    while select.select([q], [], [], 0)[0]:  # the put has rung; a get in vain says that nothing is there
        with pytest.raises(queue.Empty):
            q.get(block=False)
    return q, victim


def test_select_is_told_of_a_redelivery_by_who_buries_the_dead(start):
    q, victim = redelivering_with_a_victim(start)
    kill(victim)  # joined, and so swept
    assert select.select([q], [], [], 20)[0] == [q]
    assert q.get(block=False) == "item"
    q.task_done()
    q.close()


def test_wait_finds_a_redelivery_with_nobody_else_awake(start):
    q, victim = redelivering_with_a_victim(start)
    assert connection.wait([q], 0) == []
    os.kill(victim.pid, signal.SIGKILL)
    assert connection.wait([q], 20) == [q]
    assert connection.wait([q._reader], 20) == [q._reader]
    assert q.get(block=False) == "item"
    q.task_done()
    q.close()


def leave_with_an_item(q, go):
    q.get()
    go.wait(20)


def test_select_is_told_of_what_comes_back_at_a_clean_end(start):
    q, go = fork.JoinableQueue(redeliver=True), fork.Event()
    q.fileno()
    q.put("item")
    leaver = start(fork, leave_with_an_item, q, go)
    while not q.empty():
        pass
    with pytest.raises(queue.Empty):
        q.get(block=False)
    go.set()
    assert select.select([q], [], [], 20)[0] == [q]
    assert q.get(timeout=20) == "item"
    q.task_done()
    assert finish(leaver) == 0
    q.close()
