"""Who waits at a barrier hears of a death, whatever else happens meanwhile."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from procession import _native


@pytest.fixture
def _storm() -> Iterator[None]:
    """Signals that come faster than a slice of a wait ends."""
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    # With its own alarm, and with its own handler, back afterwards: the test's timeout uses both.
    timer = signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    yield
    signal.setitimer(signal.ITIMER_REAL, *timer)
    signal.signal(signal.SIGALRM, before)


def test_signals_do_not_hide_a_death(eventually, _storm):
    barrier = _native.Barrier(3)
    pid = os.fork()
    if pid == 0:
        barrier._wait()
        os._exit(0)
    eventually(lambda: barrier.n_waiting == 1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    began = time.monotonic()
    with pytest.raises(threading.BrokenBarrierError):
        barrier._wait(None, 5)
    assert time.monotonic() - began < 4
