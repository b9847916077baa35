"""`Semaphore` and `BoundedSemaphore`: permits, counted by the process that has them.

acquire(), release() and `with` are the core's own. Permits of a killed process come
back, unless the semaphore is used for signalling: somebody released what he had not
acquired, so that a permit no longer says who will give it back.
"""

import errno
import os
from operator import index
from typing import TYPE_CHECKING, Any, Final, Self

from procession import _native
from procession._shared import handles
from procession._shared.subclassing import Subclassable

if TYPE_CHECKING:
    from procession._shared.statistics import SemaphoreStatistics

MOST: Final = 2**31 - 1  # permits; sem_open(3) takes no more


def _permits(value: Any) -> int:
    """The number of permits, refused as sem_open(3) refuses it."""
    permits = index(value)
    if not -MOST - 1 <= permits <= MOST:
        raise OverflowError(f"{permits} permits: at most {MOST} are possible")
    if permits < 0:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return permits


@_native.fast_methods
class Semaphore(_native.Semaphore, Subclassable, face=True):
    """A number of permits; `acquire()` takes one, waiting for it, and `release()` gives one back.

    Anyone may release. When a process is killed its permits come back, with one
    OwnerDiedWarning, unless somebody has released what he had not acquired;
    `recover=True` brings them back even then, `recover=False` never. A process that
    ends cleanly leaves its permits taken. Waiting ends with Ctrl-C. Lives in shared
    memory: a forked child has it, and it can be pickled at any time.
    """

    __module__ = "procession.synchronize"

    def __new__(
        cls,
        value: int = 1,
        *,
        ctx: object = None,  # noqa: ARG004  the standard library's signature
        recover: bool | None = None,
        _handle: handles.Handle | None = None,
    ) -> Self:
        return cls._make(_permits(value), MOST, recover, _handle)

    def __init__(
        self,
        value: int = 1,
        *,
        ctx: object = None,  # noqa: ARG002  the standard library's signature
        recover: bool | None = None,
    ) -> None:
        if self._is_blank:
            self._configure(_permits(value), MOST, recover)

    @classmethod
    def _make_blank(cls, handle: handles.Handle | None, /) -> Self:
        return cls._make(1, MOST, None, handle)

    @classmethod
    def _make(cls, value: int, most: int, recover: bool | None, handle: handles.Handle | None) -> Self:
        return _native.Semaphore.__new__(cls, value, most, recover=recover, _handle=handle)

    @property
    def owner_died(self) -> int | None:
        """The pid of the process that died last with permits that came back; None when none did."""
        return self.last_dead_pid if self.recovered else None

    def statistics(self) -> "SemaphoreStatistics":
        """Figures of this semaphore, over all processes."""
        from procession._shared.statistics import SemaphoreStatistics  # noqa: PLC0415  see locks.py

        figures = self._statistics()
        signalling = bool(figures.pop("signalling"))
        return SemaphoreStatistics(signalling=signalling, **figures)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(value={self.get_value()})>"

    def __reduce__(self) -> tuple[Any, ...]:
        return handles.reduce(self)


@_native.fast_methods
class BoundedSemaphore(Semaphore, face=True):
    """A semaphore that never has more permits than at first: one release too many raises ValueError."""

    __module__ = "procession.synchronize"

    def __new__(
        cls,
        value: int = 1,
        *,
        ctx: object = None,  # noqa: ARG004  the standard library's signature
        recover: bool | None = None,
        _handle: handles.Handle | None = None,
    ) -> Self:
        permits = _permits(value)
        return cls._make(permits, permits, recover, _handle)

    def __init__(
        self,
        value: int = 1,
        *,
        ctx: object = None,  # noqa: ARG002  the standard library's signature
        recover: bool | None = None,
    ) -> None:
        if self._is_blank:
            permits = _permits(value)
            self._configure(permits, permits, recover)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(value={self.get_value()}, maxvalue={self.maxvalue})>"
