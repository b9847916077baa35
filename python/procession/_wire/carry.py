"""How a handle reaches a process that has not mapped its arena.

    start() ---- set_spawning_popen(popen) ---- pickle the process object
                                                  |  each handle: board(obj)
                                                  v
    our own contexts: the child has a place in each arena before it exists (`Passages`)
    the standard library's:  ArenaTicket(nonce, DupFd), spent by the first handle (`Luggage`)

A child of ours is entered in the object's ledger at once: from then on it needs nothing of
its parent, which may free the object or end. A child of the standard library's contexts
gets the arena's descriptor as the standard library sends descriptors, and the object is
kept alive by the launched process's handle in the parent. What is put into a queue or a shared
container is kept by the item or the value (`crates/procession-py/src/gathering.rs`), what a pool's task
gives by a queue of its own (`_work/parcel.py`). Pickled at any
other time a handle travels alone, and its object stays for as long as the arena does: nobody can
know when the last copy of the bytes is gone.

Workers load this module when they begin: it imports little.
"""

from __future__ import annotations

import os
from multiprocessing import reduction
from multiprocessing.context import get_spawning_popen
from weakref import WeakKeyDictionary

from procession import _native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

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


class Passages:
    """The places that are kept for one child of ours: in its family's arena, and wherever an object comes from."""

    def __init__(self) -> None:
        family = _native.Passage()
        self._places = {family.nonce: family}

    def board(self, obj: Shared) -> None:
        """Make the child a holder of the object."""
        handle = obj._handle()
        nonce = handle[0]
        if nonce not in self._places:
            self._places[nonce] = _native.Passage(nonce)
        self._places[nonce].board(handle)

    def places(self) -> list[_native.Passage]:
        """The family's comes first."""
        return list(self._places.values())

    def announce(self, pid: int) -> None:
        """The child will be that process: those who end a tree find it from now on."""
        for place in self._places.values():
            place.announce(pid)

    def handed_over(self) -> None:
        """The child has its copies of the descriptors."""
        for place in self._places.values():
            place.handed_over()

    def abandon(self) -> None:
        """There will be no child. Changes nothing after `handed_over()`."""
        for place in self._places.values():
            place.abandon()


class Luggage:
    """What a process started by others takes along: a ticket per arena, and the objects meant for it."""

    def __init__(self) -> None:
        self.tickets: dict[bytes, ArenaTicket] = {}
        self.objects: list[Shared] = []

    def board(self, obj: Shared) -> ArenaTicket:
        """The ticket to the object's arena: always the same one, for a descriptor may be passed only once."""
        self.objects.append(obj)
        nonce = obj._handle()[0]
        if nonce not in self.tickets:
            self.tickets[nonce] = ArenaTicket(nonce, reduction.DupFd(_native.arena_fd_of(nonce)))
        return self.tickets[nonce]


_travellers: WeakKeyDictionary[Any, Passages | Luggage] = WeakKeyDictionary()
_joined: set[bytes] = set()


def expect(popen: Any) -> Passages:
    """Keep places for the child that `popen` is about to start; they are boarded until `forget`."""
    passages = _travellers[popen] = Passages()
    return passages


def forget(popen: Any) -> None:
    """The child is on its way, or will never be."""
    _travellers.pop(popen, None)


def board(obj: Shared) -> ArenaTicket | None:
    """Prepare `obj` for a journey by pickle: pinned, unless what it travels in holds it, or a process to be started."""
    if _native.take_along(obj, obj._handle()):
        return None
    popen = get_spawning_popen()
    if popen is None:
        obj._pin()
        return None
    return _travellers.setdefault(popen, Luggage()).board(obj)


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
