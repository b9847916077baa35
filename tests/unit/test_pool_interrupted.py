"""Ctrl-C in a terminal, in the middle of a pool's work: one traceback, and nothing is left."""

import contextlib
import fcntl
import os
import pathlib
import pty
import random
import signal
import subprocess
import sys
import termios
import textwrap
import threading
import time

import pytest
import tasks

import procession
from procession._work import jobs
from procession.errors import PoolTerminatedError

SUPPORT = str(pathlib.Path(__file__).parents[1] / "support")
PROGRAM = """
    import sys, time
    sys.path.insert(0, {support!r})
    import procession, tasks

    def rest(x):
        print("begun", flush=True)
        time.sleep(60)

    if __name__ == "__main__":
        ctx = procession.get_context({method!r})
        {body}
"""
BODIES = {
    "with": "with ctx.Pool(3) as pool: pool.map(rest, range(3), 1)",
    "without": "pool = ctx.Pool(3); pool.map(rest, range(3), 1)",
    "imap": "with ctx.Pool(3) as pool: list(pool.imap(rest, iter(range(3))))",
}


class Terminal:
    """A program with a terminal of its own, whose foreground it is."""

    def __init__(self, path):
        self._end, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, path],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "PYTHON_COLORS": "0"},
            preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.text = ""

    def read(self):
        with contextlib.suppress(OSError):  # the last process of the terminal has ended
            more = os.read(self._end, 65536).decode()
            self.text += more
            return bool(more)
        return False

    def type(self, text):
        os.write(self._end, text)

    def close(self):
        os.close(self._end)


def members(session):
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
                if int(fields[3]) == session and fields[0] != "Z":
                    found.append(int(name))
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("body", ["with", "without", "imap"])
def test_ctrl_c(tmp_path, method, body, eventually):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM).format(support=SUPPORT, method=method, body=BODIES[body]))
    terminal = Terminal(str(program))
    try:
        while terminal.text.count("begun") < 3:
            assert terminal.read(), terminal.text
        terminal.type(b"\x03")
        while terminal.read():
            pass
        assert terminal.process.wait(20) == -signal.SIGINT
        assert terminal.text.count("Traceback (most recent call last)") == 1, terminal.text
        assert terminal.text.rstrip().endswith("KeyboardInterrupt")
        eventually(lambda: members(terminal.process.pid) == [])
    finally:
        terminal.process.kill()
        terminal.process.wait()
        terminal.close()


class Interruption(Exception):
    pass


@pytest.fixture
def alarm():
    """Sets what a signal does, and when it comes. (Not SIGALRM, by which tests are timed.)"""
    timers = []

    def after(seconds, act):
        signal.signal(signal.SIGUSR1, lambda *_: act())
        timers.append(threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGUSR1)))
        timers[-1].start()

    before = signal.getsignal(signal.SIGUSR1)
    yield after
    for timer in timers:
        timer.join()
    signal.signal(signal.SIGUSR1, before)


def interrupt():
    raise Interruption


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_pool_goes_on_when_calls_are_interrupted_anywhere(alarm):
    """Exceptions of signals' handlers among the steps of `apply`."""
    times = random.Random(7)
    pool = procession.get_context("fork").Pool(1)
    for _ in range(100):
        with contextlib.suppress(Interruption):
            alarm(0.0002 + times.random() * 0.002, interrupt)
            while True:
                assert pool.apply(tasks.square, (3,)) == 9
    assert pool.map(tasks.square, range(100)) == [x * x for x in range(100)]
    pool.close()
    pool.join()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("call", ["map", "starmap"])
def test_what_is_left_of_an_interrupted_map_does_not_begin(alarm, call):
    items = [0.05] * 5000 if call == "map" else [(0.05,)] * 5000
    with procession.get_context("fork").Pool(2) as pool:
        alarm(0.2, interrupt)
        with pytest.raises(Interruption):
            getattr(pool, call)(time.sleep, items)
        assert pool.map_async(tasks.square, range(10)).get(30) == [x * x for x in range(10)]
        pool.close()
        pool.join()


def test_no_python_code_runs_when_a_result_is_dropped():
    """A signal's handler that raised in it would raise into nothing, and Ctrl-C would be lost."""
    with procession.get_context("fork").Pool(1) as pool:
        results = [pool.apply_async(tasks.square, (3,)), pool.map_async(tasks.square, [3])]
        assert [result.get() for result in results] == [9, [9]]
        calls = []
        sys.setprofile(
            lambda frame, event, _: calls.append(frame.f_code.co_qualname) if event == "call" else None
        )
        results.clear()
        sys.setprofile(None)
        assert calls == []


def interrupted_numbers():
    raise Interruption
    yield


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_call_that_is_interrupted_before_it_has_a_number_harms_no_pool(monkeypatch):
    with procession.get_context("fork").Pool(1) as pool:
        with monkeypatch.context() as patches, pytest.raises(Interruption):
            patches.setattr(jobs, "_numbers", interrupted_numbers())
            pool.apply(tasks.square, (3,), timeout=60)
        assert pool.map(tasks.square, range(3)) == [0, 1, 4]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_handler_may_end_the_pool_in_the_middle_of_a_call(alarm):
    times = random.Random(7)
    for _ in range(10):
        pool = procession.get_context("fork").Pool(1)
        pool.apply(tasks.square, (3,))
        alarm(0.0002 + times.random() * 0.002, pool.terminate)
        with pytest.raises((PoolTerminatedError, ValueError)):
            while True:
                pool.apply(tasks.square, (3,))
        pool.join()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_who_rings_late_rings_no_descriptor_of_others(tmp_path):
    """A caller that found the collector asleep, and goes on when the pool has ended and its descriptors are others'."""
    pool = procession.get_context("fork").Pool(1)
    engine = pool._running()
    pool.terminate()
    pool.join()
    opened = [os.open(tmp_path / str(number), os.O_RDWR | os.O_CREAT) for number in range(20)]
    engine._nap = 1 << 40
    engine.rouse()
    assert [os.fstat(fd).st_size for fd in opened] == [0] * 20
    for fd in opened:
        os.close(fd)
