"""`Lock` and `RLock`: the core's locks with names, pickling and figures.

acquire(), release() and `with` are the core's own and stay so; what is here is
called seldom. How a dead owner is found, taken over from and repaired after is told
in the core's lock module; what the program then hears, in `_base/owner_death.py`.
"""

from typing import TYPE_CHECKING, Any, Self

from procession import _native
from procession._shared import handles
from procession._shared.subclassing import Subclassable
from procession._wire.identity import current_name

if TYPE_CHECKING:
    from procession._shared.statistics import LockStatistics


def _holder(lock: _native.SemLock) -> str:
    if lock._is_mine():
        return current_name()
    if lock._get_value() == 1:
        return "None"
    return "SomeOtherThread" if lock._count() > 0 else "SomeOtherProcess"


def _depth(lock: _native.SemLock) -> int | str:
    if lock._is_mine():
        return lock._count()
    return 0 if lock._get_value() == 1 else "nonzero"


def _owner_died(lock: _native.SemLock) -> int | None:
    return lock.last_dead_pid if lock.recovered or lock.poisoned else None


def _statistics(lock: _native.SemLock) -> "LockStatistics":
    # Dataclasses cost more to import than all of the locks; only who asks pays.
    from procession._shared.statistics import LockStatistics  # noqa: PLC0415

    figures = lock._statistics()
    return LockStatistics(
        acquisitions=figures["acquisitions"],
        contended=figures["contended"],
        waited_ns=figures["waited_ns"],
        recovered=figures["recovered"],
        signalling=bool(figures["signalling"]),
        handles=figures["handles"],
    )


@_native.fast_methods
class Lock(_native.Lock, Subclassable, face=True):
    """A lock for processes and threads: whoever holds it excludes all others, its own thread too.

    Anyone may release it. When its owner is killed, the next `acquire()` succeeds
    within a tenth of a second, with one OwnerDiedWarning (`on_owner_death="recover"`),
    or raises OwnerDiedError (`"raise"`), or waits for ever (`"ignore"`, the standard
    library's way). An owner that ends cleanly leaves it held. Waiting ends with
    Ctrl-C and other signals whose handler raises. Lives in shared memory: a forked
    child has it, and it can be pickled at any time.
    """

    __module__ = "procession.synchronize"

    @classmethod
    def _make_blank(cls, handle: handles.Handle | None, /) -> Self:
        return _native.Lock.__new__(cls, _handle=handle)

    @property
    def owner_died(self) -> int | None:
        """The pid of the process that died last holding this lock (0: unknown); None when none did."""
        return _owner_died(self)

    def statistics(self) -> "LockStatistics":
        """Figures of this lock, over all processes."""
        return _statistics(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(owner={_holder(self)})>"

    def __reduce__(self) -> tuple[Any, ...]:
        return handles.reduce(self)


@_native.fast_methods
class RLock(_native.RLock, Subclassable, face=True):
    """A lock that its holder, a thread of a process, may acquire again; it is free after as many releases.

    Only its holder may release it. In all else as `Lock`.
    """

    __module__ = "procession.synchronize"

    @classmethod
    def _make_blank(cls, handle: handles.Handle | None, /) -> Self:
        return _native.RLock.__new__(cls, _handle=handle)

    @property
    def owner_died(self) -> int | None:
        """The pid of the process that died last holding this lock (0: unknown); None when none did."""
        return _owner_died(self)

    def statistics(self) -> "LockStatistics":
        """Figures of this lock, over all processes."""
        return _statistics(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({_holder(self)}, {_depth(self)})>"

    def __reduce__(self) -> tuple[Any, ...]:
        return handles.reduce(self)
