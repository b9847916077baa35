"""Semaphores, events, conditions and barriers when somebody is killed, stopped or interrupted."""

import os
import pickle
import signal
import threading
import time
import warnings
from pathlib import Path

import pytest
from children import finish

import procession
from procession import OwnerDiedWarning


@pytest.fixture(params=["fork", "spawn", "forkserver"])
def ctx(request):
    """The processes that are killed begin as copies and as new interpreters."""
    return procession.get_context(request.param)


def kill(child):
    os.kill(child.pid, signal.SIGKILL)
    assert finish(child) == -signal.SIGKILL


def stop(child):
    """Stop it, and return when all of it has stopped: the zygote's children cannot be waited for."""
    os.kill(child.pid, signal.SIGSTOP)
    give_up = time.monotonic() + 20
    while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < give_up
        time.sleep(0.001)


def kill_holder(start, ctx, semaphore, permits=1):
    """The pid of a process that was killed with permits of the semaphore."""

    def die():
        for _ in range(permits):
            semaphore.acquire()
        os.kill(os.getpid(), signal.SIGKILL)

    child = start(ctx, die)
    assert finish(child) == -signal.SIGKILL
    return child.pid


class TestSemaphore:
    @pytest.fixture(params=["Semaphore", "BoundedSemaphore"])
    def kind(self, request):
        return request.param

    def test_permits_of_the_dead_come_back(self, start, ctx, kind):
        semaphore = getattr(procession, kind)(2)
        assert semaphore.owner_died is None
        pid = kill_holder(start, ctx, semaphore, 2)
        with pytest.warns(
            OwnerDiedWarning, match=f"process {pid} died holding a {kind}, whose permits came back"
        ):
            assert semaphore.acquire(timeout=5)
        assert (semaphore.owner_died, semaphore.statistics().recovered) == (pid, 1)
        assert semaphore.get_value() == 1
        semaphore.release()
        assert semaphore.get_value() == 2

    def test_a_waiter_gets_them(self, start, ctx, gate, kind):
        semaphore, held = getattr(procession, kind)(1), gate()

        def hold():
            semaphore.acquire()
            held.open()
            time.sleep(60)

        child = start(ctx, hold)
        held.wait()
        threading.Timer(0.05, os.kill, (child.pid, signal.SIGKILL)).start()
        with pytest.warns(OwnerDiedWarning):
            assert semaphore.acquire(timeout=20)
        semaphore.release()
        assert finish(child) == -signal.SIGKILL

    def test_a_stopped_holder_is_not_dead(self, start, ctx, gate):
        semaphore, held, go = procession.Semaphore(1), gate(), gate()

        def hold():
            with semaphore:
                held.open()
                go.wait()

        child = start(ctx, hold)
        held.wait()
        stop(child)
        assert semaphore.acquire(timeout=0.4) is False
        os.kill(child.pid, signal.SIGCONT)
        go.open()
        assert semaphore.acquire(timeout=20) is True
        semaphore.release()
        assert finish(child) == 0

    def test_a_signal_is_not_taken_back(self, start, ctx):
        semaphore = procession.Semaphore(0)
        assert finish(start(ctx, semaphore.release)) == 0
        kill_holder(start, ctx, semaphore)
        assert semaphore.acquire(timeout=0.3) is False
        assert semaphore.statistics().signalling

    def test_recover_true_takes_back_signals_too(self, start, ctx):
        semaphore = procession.Semaphore(0, recover=True)
        assert finish(start(ctx, semaphore.release)) == 0
        kill_holder(start, ctx, semaphore)
        with pytest.warns(OwnerDiedWarning):
            assert semaphore.acquire(timeout=5) is True
        assert not semaphore.statistics().signalling

    def test_recover_false_takes_nothing_back(self, start, ctx):
        semaphore = procession.Semaphore(1, recover=False)
        kill_holder(start, ctx, semaphore)
        assert semaphore.acquire(timeout=0.3) is False
        assert semaphore.owner_died is None

    def test_a_clean_end_leaves_them_taken(self, start, ctx):
        semaphore = procession.Semaphore(3)
        assert finish(start(ctx, semaphore.acquire)) == 0
        assert semaphore.get_value() == 2
        assert [semaphore.acquire(False) for _ in range(3)] == [True, True, False]

    def test_a_warning_made_an_error_takes_nothing(self, start, ctx):
        semaphore = procession.Semaphore(1)
        kill_holder(start, ctx, semaphore)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(OwnerDiedWarning), semaphore:
                pytest.fail("the body must not run")
        assert semaphore.get_value() == 1

    @pytest.mark.slow
    @pytest.mark.timeout(180)
    @pytest.mark.parametrize(
        "ctx", ["fork", "forkserver"], indirect=True
    )  # as many interpreters take a minute
    def test_two_hundred_holders(self, start, ctx, gate):
        semaphore, all_held, go = procession.Semaphore(200), procession.Semaphore(0), procession.Event()

        def hold():
            semaphore.acquire()
            all_held.release()
            go.wait()
            semaphore.release()

        children = [start(ctx, hold) for _ in range(200)]
        for _ in children:
            assert all_held.acquire(timeout=60)
        assert semaphore.get_value() == 0
        for child in children[::2]:
            os.kill(child.pid, signal.SIGKILL)
        for child in children[::2]:
            assert finish(child) == -signal.SIGKILL
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OwnerDiedWarning)
            assert semaphore.acquire(timeout=5)
        semaphore.release()
        go.set()
        assert {finish(child) for child in children[1::2]} == {0}
        assert semaphore.get_value() == 200


class TestEvent:
    def test_setting_after_a_waiter_was_killed(self, start, ctx, gate):
        event, waiting = procession.Event(), gate()

        def wait():
            waiting.open()
            event.wait()

        child = start(ctx, wait)
        waiting.wait()
        time.sleep(0.05)
        kill(child)
        event.set()
        event.clear()
        assert event.wait(0.01) is False

    def test_a_waiter_sees_a_set_that_was_cleared_at_once(self, start, ctx, gate):
        event, waiting = procession.Event(), gate()

        def wait():
            waiting.open()
            assert event.wait(20) is True

        child = start(ctx, wait)
        waiting.wait()
        time.sleep(0.1)
        event.set()
        event.clear()
        assert finish(child) == 0
        assert event.statistics().sets == 1


class TestCondition:
    @pytest.fixture(params=["Lock", "RLock"])
    def cond(self, request):
        return procession.Condition(getattr(procession, request.param)())

    @staticmethod
    def waiter(start, ctx, cond, *, stopped=False):
        """A process that waits; it says so by having joined the waiters."""
        before = cond.statistics().waiting

        def wait():
            with cond:
                assert cond.wait(20) is True

        child = start(ctx, wait)
        give_up = time.monotonic() + 20
        while cond.statistics().waiting == before:
            assert time.monotonic() < give_up
            time.sleep(0.002)
        if stopped:
            stop(child)
        return child

    def test_notifying_after_waiters_were_killed(self, start, ctx, cond):
        children = [self.waiter(start, ctx, cond) for _ in range(3)]
        for child in children[:2]:
            kill(child)
        with cond:
            cond.notify_all()
        assert finish(children[2]) == 0
        with cond:
            cond.notify_all()
        assert cond.statistics().waiting == 0

    def test_one_notification_goes_to_one_that_lives(self, start, ctx, cond):
        dead, alive = self.waiter(start, ctx, cond), self.waiter(start, ctx, cond)
        kill(dead)
        with cond:
            cond.notify()
        assert finish(alive) == 0

    def test_a_waiter_killed_after_notification_passes_it_on(self, start, ctx, cond):
        chosen, other = self.waiter(start, ctx, cond, stopped=True), self.waiter(start, ctx, cond)
        with cond:
            cond.notify()  # the one that has waited longest: it is stopped
        other.join(0.3)
        assert other.exitcode is None
        kill(chosen)
        assert finish(other) == 0

    def test_a_holder_of_the_lock_is_killed(self, start, ctx, cond):
        def die():
            cond.acquire()
            cond.notify()
            os.kill(os.getpid(), signal.SIGKILL)

        child = start(ctx, die)
        assert finish(child) == -signal.SIGKILL
        with pytest.warns(OwnerDiedWarning), cond:
            cond.notify_all()

    def test_it_travels_with_its_lock(self, cond):
        copy = pickle.loads(pickle.dumps(cond))
        assert type(copy._lock) is type(cond._lock)
        with cond:
            assert copy.acquire(False) is (type(cond._lock) is procession.synchronize.RLock)
            if type(cond._lock) is procession.synchronize.RLock:
                copy.release()


class TestBarrier:
    def test_a_party_killed_in_its_wait_breaks_it(self, start, ctx, eventually):
        barrier = procession.Barrier(3)

        def wait():
            with pytest.raises(threading.BrokenBarrierError):
                barrier.wait(5)

        victim = start(ctx, barrier.wait)
        eventually(lambda: barrier.n_waiting == 1)
        other = start(ctx, wait)
        eventually(lambda: barrier.n_waiting == 2)
        began = time.monotonic()
        kill(victim)
        assert finish(other) == 0
        assert time.monotonic() - began < 4  # told, not timed out
        assert barrier.broken
        with pytest.raises(threading.BrokenBarrierError):
            barrier.wait(5)
        barrier.reset()
        assert not barrier.broken

    def test_the_last_to_come_learns_it_too(self, start, ctx, eventually):
        barrier = procession.Barrier(2)
        victim = start(ctx, barrier.wait)
        eventually(lambda: barrier.n_waiting == 1)
        kill(victim)
        with pytest.raises(threading.BrokenBarrierError):
            barrier.wait(5)

    def test_one_killed_in_the_action_breaks_it(self, start, ctx, eventually):
        def die():
            os.kill(os.getpid(), signal.SIGKILL)

        barrier = procession.Barrier(2, action=die)

        def wait():
            with pytest.raises(threading.BrokenBarrierError):
                barrier.wait(20)

        waiting = start(ctx, wait)
        eventually(lambda: barrier.n_waiting == 1)
        last = start(ctx, barrier.wait)
        assert finish(last) == -signal.SIGKILL
        assert finish(waiting) == 0

    def test_a_stopped_party_is_not_dead(self, start, ctx, eventually):
        barrier = procession.Barrier(2)
        child = start(ctx, barrier.wait)
        eventually(lambda: barrier.n_waiting == 1)
        stop(child)
        time.sleep(0.3)
        assert barrier.n_waiting == 1
        assert barrier.wait(5) == 1
        os.kill(child.pid, signal.SIGCONT)
        assert finish(child) == 0

    @pytest.mark.parametrize("parties", [0, -1])
    def test_without_parties(self, parties):
        with pytest.raises(ValueError, match=f"^parties must be > 0, not {parties}$"):
            procession.Barrier(parties)

    def test_its_action_and_timeout_travel(self):
        barrier = procession.Barrier(2, print, 0.01)
        copy = pickle.loads(pickle.dumps(barrier))
        assert (copy.parties, copy._action, copy._timeout) == (2, print, 0.01)
        with pytest.raises(threading.BrokenBarrierError):
            copy.wait()
        assert barrier.broken


@pytest.mark.parametrize("what", ["semaphore", "event", "condition", "barrier"])
@pytest.mark.parametrize("timeout", [None, 30])
def test_ctrl_c_ends_a_wait(start, ctx, what, timeout):
    """The child reports by its exit code; what it waited for is whole afterwards."""
    semaphore, event, cond, barrier = (
        procession.Semaphore(0),
        procession.Event(),
        procession.Condition(),
        procession.Barrier(2),
    )
    ready = procession.Event()

    def wait():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        ready.set()
        with pytest.raises(KeyboardInterrupt):
            match what:
                case "semaphore":
                    semaphore.acquire(timeout=timeout)
                case "event":
                    event.wait(timeout)
                case "condition":
                    with cond:
                        cond.wait(timeout)
                case "barrier":
                    barrier.wait(timeout)

    child = start(ctx, wait)
    assert ready.wait(20)
    time.sleep(0.1)
    os.kill(child.pid, signal.SIGINT)
    assert finish(child) == 0
    assert cond.acquire(timeout=5)
    cond.release()
    assert (barrier.n_waiting, barrier.broken, semaphore.get_value()) == (0, False, 0)


def test_a_signal_handler_may_fork_in_a_wait(start, ctx):
    """The child of a fork in the middle of a wait waits for itself, and gives back only what is its own."""
    semaphore, done = procession.Semaphore(0), procession.Semaphore(0)

    def wait():
        pids = []
        signal.signal(signal.SIGUSR1, lambda *_: pids.append(os.fork()))
        ready.set()
        assert semaphore.acquire(timeout=20)
        done.release()
        if pids[0] == 0:
            os._exit(0)
        assert os.waitpid(pids[0], 0)[1] == 0

    ready = procession.Event()
    child = start(ctx, wait)
    assert ready.wait(20)
    time.sleep(0.1)
    os.kill(child.pid, signal.SIGUSR1)
    time.sleep(0.3)
    semaphore.release()
    semaphore.release()
    assert finish(child) == 0
    assert [done.acquire(timeout=20) for _ in range(2)] == [True, True]


def test_figures():
    semaphore, event, cond, barrier = (
        procession.Semaphore(2),
        procession.Event(),
        procession.Condition(),
        procession.Barrier(1),
    )
    with semaphore, semaphore:
        pass
    event.set()
    event.set()
    with cond:
        cond.wait(0)
    barrier.wait()
    assert semaphore.statistics().acquisitions == 2
    assert event.statistics().sets == 2
    assert (cond.statistics().waits, cond.statistics().notified, cond.statistics().waiting) == (1, 0, 0)
    assert (barrier.statistics().generations, barrier.statistics().waiting) == (1, 0)
    for figures in (thing.statistics() for thing in (semaphore, event, cond, barrier)):
        assert figures.handles == 1
        with pytest.raises(AttributeError):
            figures.handles = 0
