"""The start method that this process was told to go on with, until the contexts are there to know it.

A child learns it when it begins. The contexts are large and most children never need
them: who loads them finds the method here, and is told of changes from then on.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

forced: str | None = None
"""None when nobody has forced one."""

_listeners: list[Callable[[str], None]] = []


def force(method: str) -> None:
    """The default context's start method is `method` from now on."""
    global forced
    forced = method
    for listener in _listeners:
        listener(method)


def listen(listener: Callable[[str], None]) -> None:
    """Call `listener` with the method that was forced, if one was, and with each that will be."""
    _listeners.append(listener)
    if forced is not None:
        listener(forced)
