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


def test_permits_left_taken_are_told_of():
    done = run("""
        s = mp.Semaphore(5)
        child = mp.Process(target=lambda: [s.acquire() for _ in range(3)])
        child.start()
        child.join()
        assert child.exitcode == 0 and s.get_value() == 2
    """)
    assert done.returncode == 0, done.stderr
    assert "ends holding 3 permit(s) of a Semaphore: they stay held" in done.stderr


def test_signals_are_no_permits_left_taken():
    done = run("""
        s = mp.Semaphore(0)
        child = mp.Process(target=s.release)
        other = mp.Process(target=s.acquire)
        for process in (child, other):
            process.start()
            process.join()
        t = mp.Semaphore(2, recover=False)
        third = mp.Process(target=t.acquire)
        third.start()
        third.join()
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
