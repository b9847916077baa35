"""What the program hears when the owner of a lock is killed, and what it can do."""

import errno
import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import threading
import warnings

import pytest
from children import finish

import procession
from procession import OwnerDiedError, OwnerDiedWarning

KINDS = ["Lock", "RLock"]
fork = procession.get_context("fork")


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def kill_holder(start, lock):
    """The pid of a process that was killed while it held the lock."""

    def die():
        lock.acquire()
        os.kill(os.getpid(), signal.SIGKILL)

    child = start(fork, die)
    assert finish(child) == -signal.SIGKILL
    return child.pid


class TestRecover:
    def test_the_next_acquire_succeeds_with_one_warning(self, start, kind):
        lock = getattr(procession, kind)()
        assert lock.owner_died is None
        pid = kill_holder(start, lock)
        with pytest.warns(OwnerDiedWarning, match=f"process {pid} died holding a {kind}") as caught:
            assert lock.acquire() is True
        assert len(caught) == 1
        assert caught[0].filename == __file__
        assert lock.owner_died == pid
        assert lock.statistics().recovered == 1
        lock.release()
        with lock:
            pass

    def test_with_points_at_the_with_statement(self, start, kind):
        lock = getattr(procession, kind)()
        kill_holder(start, lock)
        with pytest.warns(OwnerDiedWarning) as caught, lock:
            pass
        assert caught[0].filename == __file__

    def test_a_waiter_is_woken(self, start, gate, kind):
        lock, held, die = getattr(procession, kind)(), gate(), gate()

        def hold():
            lock.acquire()
            held.open()
            die.wait()
            os.kill(os.getpid(), signal.SIGKILL)

        child = start(fork, hold)
        held.wait()
        threading.Timer(0.05, die.open).start()
        with pytest.warns(OwnerDiedWarning):
            assert lock.acquire(timeout=20)
        lock.release()
        assert finish(child) == -signal.SIGKILL

    def test_an_attempt_without_waiting_takes_over_too(self, start, kind):
        lock = getattr(procession, kind)()
        kill_holder(start, lock)
        with pytest.warns(OwnerDiedWarning):
            assert lock.acquire(False) is True
        lock.release()

    def test_a_warning_made_an_error_leaves_the_lock_free(self, start, kind):
        lock = getattr(procession, kind)()
        kill_holder(start, lock)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(OwnerDiedWarning), lock:
                pytest.fail("the body must not run")
        assert lock.acquire(False) is True
        lock.release()

    def test_each_death_is_told(self, start, kind):
        lock = getattr(procession, kind)()
        for deaths in (1, 2):
            pid = kill_holder(start, lock)
            with pytest.warns(OwnerDiedWarning, match=f"process {pid} ") as caught, lock:
                pass
            assert len(caught) == 1
            assert (lock.owner_died, lock.statistics().recovered) == (pid, deaths)

    def test_it_is_logged(self, start, kind, caplog):
        lock = getattr(procession, kind)()
        pid = kill_holder(start, lock)
        with caplog.at_level(logging.WARNING, "procession"), pytest.warns(OwnerDiedWarning), lock:
            pass
        assert [record.name for record in caplog.records] == ["procession"]
        assert f"process {pid} died holding a {kind}" in caplog.text

    def test_a_stopped_owner_is_not_dead(self, start, gate, kind):
        lock, held, go = getattr(procession, kind)(), gate(), gate()

        def hold():
            with lock:
                held.open()
                go.wait()

        child = start(fork, hold)
        held.wait()
        os.kill(child.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED)
        assert lock.acquire(timeout=0.4) is False
        os.kill(child.pid, signal.SIGCONT)
        go.open()
        with lock:
            pass
        assert finish(child) == 0

    def test_a_value(self, start):
        value = procession.Value("i", 3)

        def die():
            value.acquire()
            os.kill(os.getpid(), signal.SIGKILL)

        assert finish(start(fork, die)) == -signal.SIGKILL
        with pytest.warns(OwnerDiedWarning):
            assert value.value == 3
        value.value = 4
        assert value.value == 4


class TestRaise:
    @pytest.fixture
    def broken(self, start, kind):
        lock = getattr(procession, kind)(on_owner_death="raise")
        return lock, kill_holder(start, lock)

    def test_the_error_and_its_facts(self, broken, kind):
        lock, pid = broken
        with pytest.raises(OwnerDiedError) as caught, lock:
            pytest.fail("the body must not run")
        error = caught.value
        assert (error.resource, error.pid, error.lock is lock) == (kind, pid, True)
        assert error.errno == errno.EOWNERDEAD
        assert str(pid) in str(error)
        assert lock.owner_died == pid
        assert lock.poisoned
        self.mend(error)

    def test_everyone_is_refused_until_recovery(self, broken, start):
        lock, _ = broken

        def try_it():
            with pytest.raises(OwnerDiedError):
                lock.acquire()

        with pytest.raises(OwnerDiedError):
            lock.acquire(False)
        assert finish(start(fork, try_it)) == 0
        with pytest.raises(OwnerDiedError) as caught:
            lock.acquire(timeout=1)
        with caught.value.recover() as recovery:
            assert recovery.lock is lock
            assert lock._semlock._is_mine()
        assert lock.acquire(False)
        lock.release()

    def test_a_body_that_raises_poisons_again(self, broken):
        lock, _ = broken
        with pytest.raises(OwnerDiedError) as caught:
            lock.acquire()
        with pytest.raises(ZeroDivisionError), caught.value.recover():
            1 / 0
        with pytest.raises(OwnerDiedError):
            lock.acquire()
        self.mend(caught.value)

    def test_without_with(self, broken):
        lock, _ = broken
        with pytest.raises(OwnerDiedError) as caught:
            lock.acquire()
        recovery = caught.value.recover()
        assert lock._semlock._is_mine()
        recovery.release()
        with lock:
            pass

    def test_the_error_survives_pickling(self, broken):
        lock, pid = broken
        with pytest.raises(OwnerDiedError) as caught:
            lock.acquire()
        copy = pickle.loads(pickle.dumps(caught.value))
        assert (type(copy), copy.resource, copy.pid, str(copy)) == (
            OwnerDiedError,
            caught.value.resource,
            pid,
            str(caught.value),
        )
        self.mend(copy)
        with lock:
            pass

    @staticmethod
    def mend(error):
        with error.recover():
            pass


class TestIgnore:
    def test_the_lock_stays_lost(self, start, kind):
        lock = getattr(procession, kind)(on_owner_death="ignore")
        kill_holder(start, lock)
        assert lock.acquire(False) is False
        assert lock.acquire(timeout=0.3) is False


@pytest.mark.parametrize("policy", ["", "Recover", "die", None, 3])
def test_unknown_policies(kind, policy):
    with pytest.raises((ValueError, TypeError)):
        getattr(procession, kind)(on_owner_death=policy)


def test_a_lock_that_others_release_is_not_taken_over(start):
    """It is a semaphore: whoever acquired it need not be who releases it."""
    lock = procession.Lock()
    lock.acquire()
    assert finish(start(fork, lock.release)) == 0
    kill_holder(start, lock)
    assert lock.acquire(timeout=0.3) is False
    assert lock.statistics().signalling
    lock.release()


class TestCleanExit:
    @pytest.mark.parametrize("child", ["fork", "spawn", "os.fork"])
    def test_the_lock_stays_held_and_a_warning_is_given(self, tmp_path, kind, child):
        script = tmp_path / "script.py"
        script.write_text(
            textwrap.dedent(f"""
            import os, sys, procession
            def leave(lock):
                lock.acquire()
            def run(lock):
                if "{child}" != "os.fork":
                    make = procession.get_context("{child}").Process
                    process = make(target=leave, args=(lock,), name="Leaver")
                    process.start()
                    process.join()
                elif os.fork() == 0:
                    leave(lock)
                    sys.exit()
                else:
                    os.wait()
                print(lock.acquire(timeout=0.3), lock.owner_died, lock.holder[0])
            if __name__ == "__main__":
                lock = procession.{kind}()
                run(lock)
        """)
        )
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
        assert done.stdout == "False None 0\n"
        assert len(done.stderr.splitlines()) == 1
        assert re.search(
            rf"(Leaver|MainProcess) \(pid \d+\) ends holding 1 lock\(s\) \({kind}\)", done.stderr
        )

    def test_a_lock_that_was_released_is_not_mentioned(self, start, kind, capfd):
        lock = getattr(procession, kind)()

        def use():
            with lock:
                pass

        assert finish(start(fork, use)) == 0
        assert capfd.readouterr().err == ""


class TestStatistics:
    def test_figures(self, kind):
        lock = getattr(procession, kind)()
        for _ in range(3):
            with lock:
                pass
        figures = lock.statistics()
        assert (figures.acquisitions, figures.recovered, figures.signalling) == (3, 0, False)
        with pytest.raises(AttributeError):
            figures.acquisitions = 0
        assert not hasattr(figures, "__dict__")
