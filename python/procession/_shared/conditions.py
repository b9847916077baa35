"""`Condition`: waiters that are written down, over any lock.

The lock is an object of its own: ours, the standard library's, or anything with
acquire(), release() and a `_semlock` that answers `_is_mine()` and `_count()`.
"""

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, TypeVar

from procession import _native
from procession._shared import handles
from procession._shared.locks import RLock
from procession._shared.subclassing import Subclassable
from procession._wire.carry import board

if TYPE_CHECKING:
    from procession._shared.statistics import ConditionStatistics

_R = TypeVar("_R")


class _Gauge:
    """A number with the looks of the semaphores that the standard library counts waiters with."""

    __slots__ = ("get_value",)

    def __init__(self, get_value: Callable[[], int]) -> None:
        self.get_value = get_value


@_native.fast_methods
class Condition(_native.Condition, Subclassable, face=True):
    """A lock, and a place to wait until somebody who holds it notifies.

    `wait()` gives the lock back, however often it was acquired, sleeps, and acquires
    it again. The waiters that have waited longest are notified first. A killed waiter
    is forgotten, and what it was notified of goes to the next one: `notify()` never
    waits for anybody. Waiting ends with Ctrl-C, the lock held again. Lives in shared
    memory: a forked child has it, and it can be pickled whenever its lock can.
    """

    __module__ = "procession.synchronize"

    acquire: Callable[..., bool]
    release: Callable[[], None]

    def __new__(
        cls,
        lock: Any = None,
        *,
        ctx: object = None,  # noqa: ARG004  the standard library's signature
        _handle: handles.Handle | None = None,
    ) -> Self:
        return cls._make(lock or RLock(), _handle)

    def __init__(self, lock: Any = None, *, ctx: object = None) -> None:  # noqa: ARG002  as above
        if self._is_blank:
            self._take(lock or RLock())

    @classmethod
    def _make(cls, lock: Any, handle: handles.Handle | None) -> Self:
        self = cls._make_blank(handle)
        self._take(lock)
        return self

    @classmethod
    def _make_blank(cls, handle: handles.Handle | None, /) -> Self:
        return _native.Condition.__new__(cls, _handle=handle)

    def _take(self, lock: Any) -> None:
        """Be a condition over `lock`, with its methods."""
        self._bind(lock)
        self.acquire, self.release = lock.acquire, lock.release

    def wait_for(self, predicate: Callable[[], _R], timeout: float | None = None) -> _R:
        """Wait until `predicate()`, called with the lock held, is true; its last value."""
        result = predicate()
        end = None if timeout is None else monotonic() + timeout
        while not result:
            left = None if end is None else end - monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
            result = predicate()
        return result

    def statistics(self) -> "ConditionStatistics":
        """Figures of this condition, over all processes."""
        from procession._shared.statistics import ConditionStatistics  # noqa: PLC0415  see locks.py

        return ConditionStatistics(**self._statistics())

    # The standard library counts its waiters with three semaphores; programs look at them.
    @property
    def _sleeping_count(self) -> _Gauge:
        return _Gauge(self._sleeping)

    @property
    def _woken_count(self) -> _Gauge:
        return _Gauge(lambda: 0)

    @property
    def _wait_semaphore(self) -> _Gauge:
        return _Gauge(lambda: 0)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({self._lock}, {self._sleeping()})>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_condition, (type(self), self._lock, self._handle(), board(self))


def _open_condition(face: type[Condition], lock: Any, handle: handles.Handle, _ticket: Any) -> Condition:
    return face._make(lock, handle)
