"""A barrier and the processes that came last time: one that is killed on its way breaks it, unless somebody may come
in its place."""

import os
import signal
import threading
import time

import pytest
from children import finish

import procession

fork = procession.get_context("fork")
LONG_AFTER = 1.6  # seconds; the barrier breaks about one after a death, where it does
BROKEN = 7


class Party:
    """A process that waits at the barrier whenever it is told to, and says how that went."""

    def __init__(self, barrier, start, gate):
        self._barrier, self._go, self._done = barrier, gate(), procession.Semaphore(0)
        self.process = start(fork, self._run)

    def _run(self):
        while True:
            self._go.wait()
            try:
                self._barrier.wait(60)
            except threading.BrokenBarrierError:
                raise SystemExit(BROKEN) from None
            self._done.release()

    def come(self):
        self._go.open()

    def has_passed(self):
        return self._done.acquire(timeout=20)

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        assert finish(self.process) == -signal.SIGKILL


@pytest.fixture
def party(start, gate):
    """Makes a party of a barrier."""
    return lambda barrier: Party(barrier, start, gate)


def meet(*parties):
    for one in parties:
        one.come()
    assert all(one.has_passed() for one in parties)


def test_a_member_killed_on_its_way_breaks_it(party, eventually):
    barrier = procession.Barrier(3)
    a, b, c = (party(barrier) for _ in range(3))
    for _ in range(3):
        meet(a, b, c)
    b.kill()
    a.come()
    c.come()
    assert finish(a.process) == BROKEN
    assert finish(c.process) == BROKEN
    assert barrier.broken
    barrier.reset()
    assert (barrier.broken, barrier.n_waiting) == (False, 0)


def test_a_member_killed_while_another_waits(party, eventually):
    barrier = procession.Barrier(2)
    a, b = party(barrier), party(barrier)
    meet(a, b)
    a.come()
    eventually(lambda: barrier.n_waiting == 1)
    b.kill()
    procession._native.sweep()  # forgets who it was, not that it was
    assert finish(a.process) == BROKEN


def test_another_may_come_in_its_place(party, eventually):
    barrier = procession.Barrier(2)
    a, b = party(barrier), party(barrier)
    meet(a, b)
    b.kill()
    a.come()
    eventually(lambda: barrier.n_waiting == 1)
    instead = party(barrier)  # holds the barrier, and may take its time
    time.sleep(LONG_AFTER)
    assert not barrier.broken
    instead.come()
    assert a.has_passed()
    assert instead.has_passed()
    meet(instead, a)


def test_a_process_that_has_never_waited_may_come(party, eventually):
    barrier = procession.Barrier(2)
    spare, a, b = (party(barrier) for _ in range(3))
    meet(a, b)
    meet(b, a)
    b.kill()
    a.come()
    time.sleep(LONG_AFTER)
    assert (barrier.broken, barrier.n_waiting) == (False, 1)
    spare.come()
    assert a.has_passed()
    assert spare.has_passed()


def test_a_crowd_needs_nobody(party):
    barrier = procession.Barrier(2)
    a, b, c, d = (party(barrier) for _ in range(4))
    meet(a, b)
    meet(b, c)
    meet(c, d)
    meet(a, b)
    b.kill()
    a.come()
    time.sleep(LONG_AFTER)
    assert (barrier.broken, barrier.n_waiting) == (False, 1)
    meet_with(a, c)


def meet_with(waiting, other):
    other.come()
    assert waiting.has_passed()
    assert other.has_passed()


def test_who_ends_cleanly_is_not_missed(start, gate, party):
    barrier = procession.Barrier(2)
    a = party(barrier)
    child = start(fork, lambda: barrier.wait(20) and None)
    a.come()
    assert finish(child) == 0
    assert a.has_passed()
    a.come()
    time.sleep(LONG_AFTER)
    assert not barrier.broken
    assert barrier.wait(20) == 1
    assert a.has_passed()


def test_threads_are_members_as_well(party, eventually):
    barrier = procession.Barrier(3)
    a = party(barrier)
    for _ in range(2):
        thread = threading.Thread(target=barrier.wait, args=(20,))
        thread.start()
        a.come()
        barrier.wait(20)
        thread.join()
        assert a.has_passed()
    a.kill()
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait(20)
