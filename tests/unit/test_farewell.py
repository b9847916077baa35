"""What a process leaves behind it when it ends: its exit status, and nothing on stderr that helps nobody."""

import signal
import subprocess
import sys
import textwrap

PREAMBLE = "import os, signal\nimport procession as mp\n"


def run(code):
    program = PREAMBLE + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)


def test_ctrl_c_with_a_lock_held_is_a_death_by_sigint():
    done = run("""
        lock = mp.Lock()
        child = mp.Process(target=signal.pause, daemon=True)
        child.start()
        lock.acquire()
        raise KeyboardInterrupt
    """)
    assert done.returncode == -signal.SIGINT, done.stderr


def test_a_held_lock_is_told_of_also_where_warnings_are_errors():
    done = run("""
        import warnings
        warnings.simplefilter("error")
        lock = mp.Lock()
        child = mp.Process(target=lock.acquire)
        child.start()
        child.join()
        assert child.exitcode == 0 and not lock.acquire(timeout=0.1)
    """)
    assert done.returncode == 0, done.stderr
    assert "ends holding 1 lock(s) (Lock)" in done.stderr


def test_a_lock_that_a_finalizer_releases_is_not_left_held():
    """As a pool's: it is given up when the program exits."""
    done = run("""
        from procession import util
        lock = mp.Lock()
        child = mp.Process(target=signal.pause, daemon=True)
        child.start()
        lock.acquire()
        util.Finalize(None, lock.release, exitpriority=10)
    """)
    assert (done.returncode, done.stderr) == (0, "")


def test_permits_left_taken_are_no_news():
    """A producer takes a place that its consumer gives back, maybe after the producer's end."""
    done = run("""
        places = mp.BoundedSemaphore(2)
        child = mp.Process(target=places.acquire)
        child.start()
        child.join()
        places.release()
        assert places.get_value() == 2
    """)
    assert (done.returncode, done.stderr) == (0, "")


def test_descriptors_that_the_program_closed_are_not_closed_again():
    done = run("""
        child = mp.Process(target=int)
        child.start()
        child.join()
        os.closerange(3, 256)
        mine = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
        child.close()
        del child
        assert all(os.fstat(fd) for fd in mine)
    """)
    assert (done.returncode, done.stderr) == (0, "")
