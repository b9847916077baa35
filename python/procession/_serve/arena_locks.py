"""Lock, RLock, Semaphore, BoundedSemaphore, Condition, Event and Barrier of a manager, in the arena.

They raise what threading's raise, which a server of the standard library's holds. What becomes
of those whose holder is killed is told by `procession.synchronize`.
"""

import contextlib
import threading
from typing import Any

from procession._serve.arena import SLICE, ArenaProxy, arena_kind
from procession._serve.kinds import AcquirerProxy, BarrierProxy, ConditionProxy, EventProxy
from procession._shared.barriers import Barrier
from procession._shared.conditions import Condition
from procession._shared.events import Event
from procession._shared.locks import Lock, RLock
from procession._shared.semaphores import BoundedSemaphore, Semaphore

# mypy: disable-error-code="override, misc, no-any-return"


class _Acquirer(ArenaProxy):
    """What can be acquired and released."""

    _refusal = "release unlocked lock"

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Acquire it; whether that was done, when not `blocking` or before the timeout."""
        referent = self._here()
        if timeout == -1:
            timeout = None  # as threading's
        if timeout is not None and (not blocking or timeout < 0):
            threading.Lock().acquire(blocking, timeout)  # raises what it says of these
        if not blocking or timeout is not None:
            return referent.acquire(blocking, timeout)
        while not referent.acquire(True, SLICE):
            self._here()
        return True

    def release(self) -> None:
        """Release it, which others may wait for even when the manager has been shut down."""
        try:
            self._referent.release()
        except (ValueError, AssertionError):
            raise RuntimeError(self._refusal) from None
        self._here()

    def locked(self) -> bool:
        """Whether somebody holds it."""
        return self._here().locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()


@arena_kind
class ArenaLock(_Acquirer, AcquirerProxy):
    """A lock."""

    _typeid = "Lock"

    @staticmethod
    def _prepare() -> tuple[Any, ...]:
        return (Lock(),)


@arena_kind
class ArenaRLock(_Acquirer, AcquirerProxy):
    """A lock that its holder, a thread of a process, may acquire again."""

    _typeid = "RLock"
    _refusal = "cannot release un-acquired lock"

    @staticmethod
    def _prepare() -> tuple[Any, ...]:
        return (RLock(),)


@arena_kind
class ArenaSemaphore(_Acquirer, AcquirerProxy):
    """A semaphore."""

    _typeid = "Semaphore"

    @staticmethod
    def _prepare(value: int = 1) -> tuple[Any, ...]:
        if value < 0:
            raise ValueError("semaphore initial value must be >= 0")
        return (Semaphore(value),)


@arena_kind
class ArenaBoundedSemaphore(_Acquirer, AcquirerProxy):
    """A semaphore that refuses more releases than acquisitions."""

    _typeid = "BoundedSemaphore"

    @staticmethod
    def _prepare(value: int = 1) -> tuple[Any, ...]:
        if value < 0:
            raise ValueError("semaphore initial value must be >= 0")
        return (BoundedSemaphore(value),)

    def release(self) -> None:
        """Release it; ValueError when that is once too often."""
        try:
            self._referent.release()
        except ValueError:
            raise ValueError("Semaphore released too many times") from None
        self._here()


@arena_kind
class ArenaCondition(_Acquirer, ConditionProxy):
    """A condition variable."""

    _typeid = "Condition"
    _refusal = "cannot release un-acquired lock"

    @staticmethod
    def _prepare(lock: Any = None) -> tuple[Any, ...]:
        return (Condition(lock._referent if isinstance(lock, ArenaProxy) else lock),)

    def wait(self, timeout: float | None = None) -> bool:
        """Give the lock back, wait to be notified, acquire it again; False after a timeout."""
        with _owning("wait on"):
            if timeout is not None:
                notified = self._here().wait(timeout)
                self._here()
                return notified
            # Between two slices the lock is held: nobody can notify then.
            while not self._here().wait(SLICE):
                continue
            self._here()
            return True

    def notify(self, n: int = 1) -> None:
        """Wake up to n of those who wait."""
        with _owning("notify on"):
            self._here().notify(n)

    def notify_all(self) -> None:
        """Wake all who wait."""
        with _owning("notify on"):
            self._here().notify_all()

    def _shut(self) -> None:
        if self._referent.acquire(True, SLICE):
            self._referent.notify_all()
            self._referent.release()


@contextlib.contextmanager
def _owning(what: str) -> Any:
    try:
        yield
    except AssertionError:
        raise RuntimeError(f"cannot {what} un-acquired lock") from None


@arena_kind
class ArenaEvent(ArenaProxy, EventProxy):
    """A flag to wait for."""

    _typeid = "Event"

    @staticmethod
    def _prepare() -> tuple[Any, ...]:
        return (Event(),)

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._here().is_set()

    def set(self) -> None:
        """Set it, and let all go who wait."""
        self._here().set()

    def clear(self) -> None:
        """Unset it."""
        self._here().clear()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set; whether it is."""
        if timeout is not None:
            is_set = self._here().wait(timeout)
            self._here()
            return is_set
        while not self._here().wait(SLICE):
            continue
        self._here()
        return True

    def _shut(self) -> None:
        self._referent.set()


@arena_kind
class ArenaBarrier(ArenaProxy, BarrierProxy):
    """A place where parties wait for each other; who comes last runs the action."""

    _typeid = "Barrier"

    @staticmethod
    def _prepare(parties: int, action: Any = None, timeout: float | None = None) -> tuple[Any, ...]:
        return (Barrier(parties, action, timeout),)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for all parties; which of them this one is."""
        try:
            return self._here()._wait_before(self._life, timeout)
        finally:
            self._here()

    def abort(self) -> None:
        """Break it: all who wait and all who come get BrokenBarrierError."""
        self._here().abort()

    def reset(self) -> None:
        """Make it as it was at first; who waits gets BrokenBarrierError."""
        self._here().reset()

    @property
    def parties(self) -> int:
        """How many have to come."""
        return self._here().parties

    @property
    def n_waiting(self) -> int:
        """How many wait now."""
        return self._here().n_waiting

    @property
    def broken(self) -> bool:
        """Whether it is broken."""
        return self._here().broken

    def _shut(self) -> None:
        self._referent.abort()
