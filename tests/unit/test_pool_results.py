"""Results of a pool's tasks, and those who wait for them."""

import itertools
import sys
import threading

import pytest

import procession
from procession.pool import ApplyResult


class Interrupted(Exception):
    pass


def interrupted(call, steps):
    """Whether `call()` was interrupted after so many calls of C functions, where a signal's handler may run."""
    left = steps

    def profile(frame, event, _):
        nonlocal left
        left -= event == "c_return"
        if left == 0:
            raise Interrupted

    try:
        sys.setprofile(profile)
        call()
    except Interrupted:
        return True
    finally:
        sys.setprofile(None)
    return False


def test_who_waits_is_interrupted_anywhere_and_the_collector_goes_on():
    for steps in itertools.count(1):
        result = ApplyResult(None, None, None)
        was_interrupted = interrupted(lambda result=result: result.wait(0.001), steps)
        collector = threading.Thread(target=result.answered, args=(0, [steps]), daemon=True)
        collector.start()
        collector.join(20)
        assert not collector.is_alive()
        assert result.get(0) == steps
        if not was_interrupted:
            break
    assert steps > 3


def test_many_wait_and_some_give_up():
    result = ApplyResult(None, None, None)
    got = []
    waiting = [threading.Thread(target=lambda: got.append(result.get(30)), daemon=True) for _ in range(8)]
    for thread in waiting:
        thread.start()
    for timeout in (0, -1, 0.001):
        with pytest.raises(procession.TimeoutError):
            result.get(timeout)
    with pytest.raises(OverflowError):
        result.get(1e20)
    result.answered(0, ["it"])
    for thread in waiting:
        thread.join()
    assert got == ["it"] * 8
    assert result._gates == []
