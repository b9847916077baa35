"""Pickling of everything that lives in the arena: the class, the handle, and the way to the arena."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from procession._wire.carry import ArenaTicket, board

if TYPE_CHECKING:
    from procession._wire.carry import Shared

    class Face(Shared, Protocol):
        """A class whose objects can be opened from handles."""

        @classmethod
        def _open(cls, handle: Handle, /) -> Any: ...


Handle = tuple[bytes, int, int]


def open_handle(face: type[Face], handle: Handle, _ticket: ArenaTicket | None) -> Any:
    """The object behind a handle; StaleHandleError when it is gone, or of a family that is not ours."""
    return face._open(handle)


def reduce(obj: Face) -> tuple[Any, ...]:
    """What `__reduce__` of a shared object returns."""
    return open_handle, (type(obj), obj._handle(), board(obj))
