"""How a handle reaches a process that has not mapped its arena.

    start() ---- set_spawning_popen(popen) ---- pickle the process object
                                                  |  each handle: board(obj)
                                                  v
    child  <---- one descriptor per arena ---- ArenaTicket(nonce, DupFd)
      |  unpickling the first handle joins the arena, the ticket is then spent
      v
    obj's class opens the handle

While a process is being spawned, by our contexts or by the standard library's, the
descriptor travels as the standard library sends descriptors, and the object is kept
alive by the launched process's handle in the parent. Pickled at any other time a
handle travels alone, and its object stays for as long as the arena does: nobody can
know when the last copy of the bytes is gone.
"""

import os
from collections.abc import Callable
from multiprocessing import reduction
from multiprocessing.context import get_spawning_popen
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from procession import _native


class Shared(Protocol):
    """What every object in the arena offers."""

    def _handle(self) -> tuple[bytes, int, int]: ...
    def _pin(self) -> None: ...


class ArenaTicket:
    """Joins the arena `nonce` when it is unpickled."""

    __slots__ = ("descriptor", "nonce")

    def __init__(self, nonce: bytes, descriptor: Any) -> None:
        self.nonce, self.descriptor = nonce, descriptor

    def __reduce__(self) -> tuple[Callable[[bytes, Any], None], tuple[bytes, Any]]:
        return join_arena, (self.nonce, self.descriptor)


class Luggage:
    """What one launched process takes along: a ticket per arena, and the objects meant for it."""

    def __init__(self) -> None:
        self.tickets: dict[bytes, ArenaTicket] = {}
        self.objects: list[Shared] = []

    def ticket(self, nonce: bytes) -> ArenaTicket:
        """The ticket to that arena: always the same one, for a descriptor may be passed only once."""
        if nonce not in self.tickets:
            self.tickets[nonce] = ArenaTicket(nonce, reduction.DupFd(_native.arena_fd_of(nonce)))
        return self.tickets[nonce]


_luggage: WeakKeyDictionary[Any, Luggage] = WeakKeyDictionary()
_joined: set[bytes] = set()


def board(obj: Shared) -> ArenaTicket | None:
    """Prepare `obj` for a journey by pickle: its ticket while a process is spawned, else a pin and None."""
    popen = get_spawning_popen()
    if popen is None:
        obj._pin()
        return None
    luggage = _luggage.setdefault(popen, Luggage())
    luggage.objects.append(obj)
    return luggage.ticket(obj._handle()[0])


def join_arena(nonce: bytes, descriptor: Any) -> None:
    """Map the arena behind a ticket's descriptor, once."""
    if nonce in _joined:
        return
    fd = descriptor.detach()
    try:
        _native.attach(fd)
    finally:
        os.close(fd)
    _joined.add(nonce)
