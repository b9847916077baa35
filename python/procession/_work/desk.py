"""What lies between a pool and one of its workers: the desk in the arena, and the bell that wakes the pool.

Workers load this module when they begin: it imports little.
"""

from __future__ import annotations

import os
from multiprocessing import reduction
from multiprocessing.context import get_spawning_popen

from procession import _native
from procession._base.descriptor import Descriptor
from procession._wire import carry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

INBOX = 256 << 10
"""Bytes of the ring of tasks."""
OUTBOX = 256 << 10
"""Bytes of the ring of results."""
LARGEST = 32 << 10
"""Bytes of a message or result that goes through a ring; larger ones get memory of their own."""

# Kinds of records that are Python's business; 0 to 15 are the core's.
VALUES, UNREADABLE = 1, 2  # answers of `receive`
ERROR, LARGE, READY, FAILED_TO_START, NOT_UNDERSTOOD, LARGE_ERROR, STACKS = 16, 17, 18, 19, 20, 21, 22
CARRIED, CARRIED_ERROR = 23, 24


class Desk(_native.Desk):
    """A worker's desk; it travels to the worker as a handle."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open_desk, (self._handle(), carry.board(self))


def open_desk(handle: tuple[bytes, int, int], _ticket: carry.ArenaTicket | None) -> Desk:
    """A desk, where its worker is."""
    desk: Desk = Desk._open(handle)
    return desk


class Bell:
    """An eventfd: workers ring it, and the pool waits for it with all else that it waits for."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._descriptor = Descriptor(self._fd)

    def fileno(self) -> int:
        return self._fd

    def ring(self) -> None:
        """Wake the pool, or have it not sleep."""
        try:
            os.eventfd_write(self._fd, 1)
        except BlockingIOError:  # rung 2**64 - 2 times already: loud enough
            return

    def silence(self) -> None:
        """Hear nothing but later rings."""
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Give the descriptor up."""
        self._descriptor.close()

    def __reduce__(self) -> tuple[Any, ...]:
        if get_spawning_popen() is None:
            raise RuntimeError("a pool's bell travels only to its workers")
        return _hear, (reduction.DupFd(self._fd),)


def _hear(duplicate: Any) -> Bell:
    bell = Bell.__new__(Bell)
    bell._fd = duplicate.detach()
    bell._descriptor = Descriptor(bell._fd)
    return bell
