"""What a program hears when Ctrl-C ends a wait."""

import re
import subprocess
import sys
import textwrap

import pytest

PREAMBLE = """
import os, signal, sys, threading
import procession as mp

def interrupt_when_waiting():
    # A blocked acquire looks at signals: any time after it began will do.
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, 0.2)

def hold(lock, ready):
    with lock:
        ready.set()
        signal.pause()
"""


def stderr_of(code, *arguments):
    program = PREAMBLE + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, *arguments, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert "KeyboardInterrupt" in done.stderr, done.stderr
    return done.stderr


def test_a_lock_of_another_process():
    told = stderr_of("""
        lock, ready = mp.Lock(), mp.Event()
        holder = mp.Process(target=hold, args=(lock, ready), name="worker-2", daemon=True)
        holder.start()
        ready.wait()
        interrupt_when_waiting()
        lock.acquire()
    """)
    assert re.search(r"^waiting \d+\.\d s for a Lock held by pid \d+ \(worker-2\)$", told, re.MULTILINE)


def test_a_lock_of_the_very_thread():
    told = stderr_of("""
        lock = mp.Lock()
        lock.acquire()
        interrupt_when_waiting()
        lock.acquire()
    """)
    assert "for a Lock that this very thread holds: it waits for itself" in told


def test_a_lock_of_another_thread():
    told = stderr_of("""
        lock = mp.RLock()
        thread = threading.Thread(target=lock.acquire)
        thread.start()
        thread.join()
        interrupt_when_waiting()
        lock.acquire()
    """)
    assert "for an RLock held by another thread of this process" in told


def test_where_it_was_taken():
    told = stderr_of("""
        os.environ["PROCESSION_DEBUG"] = "1"
        lock = mp.Lock()
        lock.acquire()
        interrupt_when_waiting()
        lock.acquire()
    """)
    assert re.search(r"it waits for itself, taken at <string>:\d+$", told, re.MULTILINE)


@pytest.mark.parametrize(
    ("make", "how", "what"),
    [
        ("it = mp.Event()", "wait", "an Event"),
        ("it = mp.Semaphore(0)", "acquire", "a Semaphore"),
        ("it = mp.Barrier(2)", "wait", "a Barrier"),
        ("it = mp.Condition(); it.acquire()", "wait", "a Condition"),
    ],
)
def test_everything_that_waits(make, how, what):
    assert re.search(
        rf"^waiting \d+\.\d s for {what}$",
        stderr_of(f"{make}\ninterrupt_when_waiting()\nit.{how}()"),
        re.MULTILINE,
    )
