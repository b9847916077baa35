"""Waits in which a signal handler raises, or forks."""

import os
import signal
import threading
import time
import warnings

import pytest
from children import finish

import procession
from procession import OwnerDiedError, OwnerDiedWarning

fork = procession.get_context("fork")


class Interrupted(Exception):
    """What the handlers of these tests raise."""


@pytest.fixture
def handler():
    """Sets a handler for SIGUSR1 in a child: the child ends with the test."""

    def set_it(act):
        signal.signal(signal.SIGUSR1, act)

    return set_it


def sleeping(cond, number, eventually):
    eventually(lambda: cond.statistics().waiting == number)


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
@pytest.mark.parametrize("notified", [True, False])
def test_a_condition_leaves_with_its_lock_held(start, eventually, gate, handler, kind, notified):
    """The handler raises while the waiter waits for the lock again, or for the notification and then for the lock."""
    cond, interrupted = procession.Condition(getattr(procession, kind)()), gate()

    def raise_it(*_):
        interrupted.open()
        raise Interrupted

    def wait():
        handler(raise_it)
        with cond:
            with pytest.raises(Interrupted):
                cond.wait(20)
            assert cond._lock._semlock._is_mine()
            assert cond._lock._semlock._count() == 1

    child = start(fork, wait)
    sleeping(cond, 1, eventually)
    with cond:
        if notified:
            cond.notify()
            time.sleep(0.3)  # it waits for the lock by now
        os.kill(child.pid, signal.SIGUSR1)
        interrupted.wait()
        child.join(0.3)
        assert child.exitcode is None, "it left without the lock"
    assert finish(child) == 0
    assert cond.acquire(timeout=5)
    cond.release()
    assert cond.statistics().waiting == 0


def test_a_deep_lock_is_as_deep_again(start, eventually, gate, handler):
    cond, interrupted = procession.Condition(), gate()

    def raise_it(*_):
        interrupted.open()
        raise Interrupted

    def wait():
        handler(raise_it)
        with cond, cond, cond:
            with pytest.raises(Interrupted):
                cond.wait(20)
            assert cond._lock._count() == 3

    child = start(fork, wait)
    sleeping(cond, 1, eventually)
    with cond:
        cond.notify()
        time.sleep(0.2)
        os.kill(child.pid, signal.SIGUSR1)
        interrupted.wait()
    assert finish(child) == 0


def test_of_two_exceptions_the_later_is_raised(start, eventually, gate, handler):
    cond, interrupted = procession.Condition(), gate()

    def wait():
        raised = []

        def raise_it(*_):
            raised.append(Interrupted(len(raised)))
            interrupted.open()
            raise raised[-1]

        handler(raise_it)
        with cond:
            with pytest.raises(Interrupted) as caught:
                cond.wait(20)
            assert caught.value is raised[1]
            assert caught.value.__context__ is raised[0]

    child = start(fork, wait)
    sleeping(cond, 1, eventually)
    with cond:
        for _ in range(2):
            os.kill(child.pid, signal.SIGUSR1)
            interrupted.wait()
            time.sleep(0.1)  # the handler has returned
    assert finish(child) == 0


def test_who_is_interrupted_passes_its_notification_on(start, eventually, gate, handler):
    cond, interrupted = procession.Condition(), gate()

    def raise_it(*_):
        interrupted.open()
        raise Interrupted

    def chosen():
        handler(raise_it)
        with cond, pytest.raises(Interrupted):
            cond.wait(20)

    def other():
        with cond:
            assert cond.wait(20) is True

    first = start(fork, chosen)
    sleeping(cond, 1, eventually)
    second = start(fork, other)
    sleeping(cond, 2, eventually)
    with cond:
        cond.notify()
        time.sleep(0.2)
        os.kill(first.pid, signal.SIGUSR1)
        interrupted.wait()
    assert [finish(first), finish(second)] == [0, 0]


@pytest.mark.parametrize("policy", ["raise", "warning"])
def test_a_dead_owner_is_told_of_with_the_lock_held(start, eventually, policy):
    """Met when a condition acquires its lock again: the error comes out of wait(), the lock held."""
    lock = procession.Lock(on_owner_death="raise" if policy == "raise" else "recover")
    cond = procession.Condition(lock)
    expected = OwnerDiedError if policy == "raise" else OwnerDiedWarning

    def wait():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with cond:
                with pytest.raises(expected):
                    cond.wait(20)
                assert lock._is_mine()
        assert lock.poisoned is (policy == "raise")

    def die():
        cond.acquire()
        cond.notify()
        os.kill(os.getpid(), signal.SIGKILL)

    child = start(fork, wait)
    sleeping(cond, 1, eventually)
    assert finish(start(fork, die)) == -signal.SIGKILL
    assert finish(child) == 0


def test_a_child_forked_in_a_wait_for_a_condition_waits_for_itself(start, eventually, handler):
    cond = procession.Condition()
    done = procession.Semaphore(0)

    def wait():
        pids = []
        handler(lambda *_: pids.append(os.fork()))
        with cond:
            assert cond.wait(20) is True
        done.release()
        if pids[0] == 0:
            os._exit(0)
        assert os.waitpid(pids[0], 0)[1] == 0

    child = start(fork, wait)
    sleeping(cond, 1, eventually)
    os.kill(child.pid, signal.SIGUSR1)
    sleeping(cond, 2, eventually)
    with cond:
        cond.notify_all()
    assert [done.acquire(timeout=20) for _ in range(2)] == [True, True]
    assert finish(child) == 0
    assert cond.statistics().waiting == 0


def test_a_child_forked_in_a_wait_at_a_barrier_is_no_party(start, eventually, gate, handler):
    barrier, forked = procession.Barrier(2), gate()

    def wait():
        pids = []

        def split(*_):
            pids.append(os.fork())
            if pids[0]:
                forked.open()

        handler(split)
        try:
            assert barrier.wait(20) == 0
        except threading.BrokenBarrierError:
            os._exit(3 if pids[0] == 0 else 1)
        if pids[0] == 0:
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == 3

    child = start(fork, wait)
    eventually(lambda: barrier.n_waiting == 1)
    os.kill(child.pid, signal.SIGUSR1)
    forked.wait()
    time.sleep(0.3)  # the child of the fork has given up by now
    assert (barrier.n_waiting, barrier.broken) == (1, False)
    assert barrier.wait(20) == 1
    assert finish(child) == 0
