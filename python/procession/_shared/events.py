"""`Event`: a flag that many wait for. All but its looks is the core's own."""

from typing import TYPE_CHECKING, Any, Self

from procession import _native
from procession._shared import handles
from procession._shared.subclassing import Subclassable

if TYPE_CHECKING:
    from procession._shared.statistics import EventStatistics


@_native.fast_methods
class Event(_native.Event, Subclassable, face=True):
    """A flag: `wait()` returns as soon as somebody has `set()` it.

    A waiter that was asleep returns True even if the event was cleared again before
    it woke. Nobody who dies can keep others from setting, clearing or waiting. Waiting
    ends with Ctrl-C. Lives in shared memory: a forked child has it, and it can be
    pickled at any time.
    """

    __module__ = "procession.synchronize"

    def __init__(self, *, ctx: object = None) -> None:
        pass

    @classmethod
    def _make_blank(cls, handle: handles.Handle | None, /) -> Self:
        return _native.Event.__new__(cls, _handle=handle)

    def statistics(self) -> "EventStatistics":
        """Figures of this event, over all processes."""
        from procession._shared.statistics import EventStatistics  # noqa: PLC0415  see locks.py

        return EventStatistics(**self._statistics())

    def __repr__(self) -> str:
        return f"<{type(self).__qualname__} at {id(self):#x} {'set' if self.is_set() else 'unset'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return handles.reduce(self)
