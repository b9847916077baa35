"""Death after every instruction of locks and values."""

import os
import time
from typing import Any

import pytest
import stepping
from campaign import PATIENCE, Campaign, acquirable

from procession import _native

pytestmark = [
    pytest.mark.crash,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore:process .* died holding"),
]

LOCKS = pytest.mark.parametrize("kind", [_native.Lock, _native.RLock], ids=["Lock", "RLock"])


@LOCKS
def test_acquire(stepper, stride, kind):
    lock = kind()
    Campaign(stepper, stride, f"{kind.__name__}.acquire").run(
        lambda: stepping.fork_victim(lambda: None, lambda _: lock.acquire()), check=lambda: acquirable(lock)
    )


@LOCKS
def test_release(stepper, stride, kind):
    lock = kind()
    Campaign(stepper, stride, f"{kind.__name__}.release").run(
        lambda: stepping.fork_victim(lock.acquire, lambda _: lock.release()), check=lambda: acquirable(lock)
    )


@LOCKS
def test_with(stepper, stride, kind):
    lock = kind()

    def enter_and_leave(_: Any) -> None:
        with lock:
            pass

    Campaign(stepper, stride, f"with {kind.__name__}").run(
        lambda: stepping.fork_victim(lambda: None, enter_and_leave), check=lambda: acquirable(lock)
    )


def test_rlock_nested(stepper, stride):
    lock = _native.RLock()

    def act(_: Any) -> None:
        lock.acquire()
        lock.acquire()
        lock.release()
        lock.release()

    Campaign(stepper, stride, "RLock, twice and back").run(
        lambda: stepping.fork_victim(lock.acquire, act), check=lambda: acquirable(lock)
    )


@LOCKS
def test_acquire_contended(stepper, stride, kind):
    """The holder lets go while the victim spins, parks or sleeps."""
    lock = kind()

    def make_victim() -> int:
        victim = stepping.fork_victim(lambda: None, lambda _: lock.acquire())
        lock.acquire()
        return victim

    def let_go(victim: int) -> None:
        give_up = time.monotonic() + PATIENCE
        while not stepping.is_asleep(victim) and time.monotonic() < give_up:
            time.sleep(0.0005)
        lock.release()

    Campaign(stepper, stride, f"{kind.__name__}.acquire, contended").run(
        make_victim, meanwhile=let_go, check=lambda: acquirable(lock)
    )


@LOCKS
def test_acquire_in_vain(stepper, stride, kind):
    """The victim dies waiting for a lock that is not let go."""
    lock = kind()

    def make_victim() -> int:
        victim = stepping.fork_victim(lambda: None, lambda _: lock.acquire(timeout=0.005))
        lock.acquire()
        return victim

    def check() -> None:
        lock.release()
        acquirable(lock)

    Campaign(stepper, stride, f"{kind.__name__}.acquire, timed out").run(make_victim, check=check)


@LOCKS
def test_release_with_a_waiter(stepper, stride, kind):
    """The holder dies while it hands over: the waiter must get the lock all the same."""
    lock = kind()
    waiters: list[int] = []

    def make_victim() -> int:
        victim = stepping.fork_victim(lock.acquire, lambda _: lock.release())
        waiter = os.fork()
        if waiter == 0:
            status = 70
            try:
                if lock.acquire(timeout=PATIENCE):
                    lock.release()
                    status = 0
            finally:
                os._exit(status)
        waiters.append(waiter)
        while not stepping.is_asleep(waiter):
            time.sleep(0.0002)
        return victim

    def check() -> None:
        _, status = os.waitpid(waiters.pop(), 0)
        assert os.waitstatus_to_exitcode(status) == 0, "the waiter did not get the lock"
        acquirable(lock)

    Campaign(stepper, stride, f"{kind.__name__}.release, with a waiter").run(make_victim, check=check)


def test_value_operations(stepper, stride):
    value = _native.Value("q", 0)
    totals: list[int] = [0]

    def check() -> None:
        # All or nothing: the addition happened if its store did.
        now = value.value
        assert now in (totals[-1], totals[-1] + 1), f"the value went from {totals[-1]} to {now}"
        totals.append(now)
        acquirable(value.get_lock())

    Campaign(stepper, stride, "Value.add").run(
        lambda: stepping.fork_victim(lambda: None, lambda _: value.add(1)), check=check
    )


def test_value_compare_exchange(stepper, stride):
    value = _native.Value("q", 0)

    def check() -> None:
        assert value.value in (0, 1)
        value.value = 0
        acquirable(value.get_lock())

    Campaign(stepper, stride, "Value.compare_exchange").run(
        lambda: stepping.fork_victim(lambda: None, lambda _: value.compare_exchange(0, 1)), check=check
    )


def test_take_over(stepper, stride):
    """The second death: of who takes a dead owner's lock over."""
    lock = _native.Lock()

    def make_victim() -> int:
        victim = stepping.fork_victim(lambda: None, lambda _: lock.acquire())
        stepping.bury(stepping.fork_victim(lock.acquire, lambda _: None))
        return victim

    Campaign(stepper, stride, "take a dead owner's Lock over").run(
        make_victim, check=lambda: acquirable(lock)
    )
