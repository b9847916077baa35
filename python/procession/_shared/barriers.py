"""`Barrier`: parties that wait for each other, and hear when one of them has died."""

import threading
from collections.abc import Callable
from operator import index
from typing import TYPE_CHECKING, Any, Self

from procession import _native
from procession._shared import handles
from procession._shared.subclassing import Subclassable
from procession._wire.carry import board

if TYPE_CHECKING:
    from procession._shared.statistics import BarrierStatistics


def _checked(parties: int) -> int:
    parties = index(parties)
    if parties < 1:
        raise ValueError(f"parties must be > 0, not {parties}")
    return parties


class Barrier(_native.Barrier, threading.Barrier, Subclassable, face=True):
    """A place where `parties` processes and threads wait until all have come.

    The last to come runs `action` and lets all go. When one that waits is killed, when
    a wait times out, or when the action raises, the barrier is broken: all who wait and
    all who come get BrokenBarrierError until `reset()`. So it is about a second after one
    that came the last time was killed, if nobody may come in its place (a process that
    holds the barrier and has not waited at it). Who leaves by Ctrl-C has not come.
    Lives in shared memory: a forked child has it, and it can be pickled whenever its
    action can.
    """

    __module__ = "procession.synchronize"

    _action: Callable[[], object] | None
    _timeout: float | None

    def __new__(
        cls,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        ctx: object = None,  # noqa: ARG004  the standard library's signature
    ) -> Self:
        return cls._make(_checked(parties), action, timeout, None)

    def __init__(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        ctx: object = None,  # noqa: ARG002  the standard library's signature
    ) -> None:
        # Not threading.Barrier's, which would make a lock and a condition of its own.
        if self._is_blank:
            self._set_parties(_checked(parties))
            self._action, self._timeout = action, timeout

    @classmethod
    def _make(cls, parties: int, action: Any, timeout: Any, handle: handles.Handle | None) -> Self:
        self = _native.Barrier.__new__(cls, parties, _handle=handle)
        self._action, self._timeout = action, timeout
        return self

    @classmethod
    def _make_blank(cls, handle: handles.Handle | None, /) -> Self:
        return cls._make(1, None, None, handle)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for all parties; the number of those who came before.

        `timeout` seconds, or else the barrier's own timeout, break the barrier.
        """
        return self._wait_before(None, timeout)

    def _wait_before(self, end: _native.Counter | None, timeout: float | None) -> int:
        """The same, but no longer than `end` is 0: then it breaks."""
        return self._wait(self._action, self._timeout if timeout is None else timeout, end)

    def statistics(self) -> "BarrierStatistics":
        """Figures of this barrier, over all processes."""
        from procession._shared.statistics import BarrierStatistics  # noqa: PLC0415  see locks.py

        return BarrierStatistics(**self._statistics())

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = self.parties, self._action, self._timeout, self._handle(), board(self)
        return _open_barrier, (type(self), *arguments)


def _open_barrier(
    face: type[Barrier], parties: int, action: Any, timeout: Any, handle: handles.Handle, _ticket: Any
) -> Barrier:
    return face._make(parties, action, timeout, handle)
