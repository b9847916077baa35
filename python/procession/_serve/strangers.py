"""Clients that have not yet shown that they know the key: a bounded number, the newest.

Each has a thread and a deadline (`_wire/listeners.py`). Somebody who opens connections without end
makes the oldest of them give way: neither threads nor descriptors grow, and who knows the
key needs a moment only.
"""

import os
import socket
import struct
import threading
from typing import Any, Final

MOST: Final = 64


class Strangers:
    """Those who have knocked and not been admitted."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._mutex = threading.Lock()
        self._waiting: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, connection: Any) -> None:
        """One more; when there are too many the one that waits longest is hung up on."""
        with self._mutex:
            if len(self._waiting) >= self._most:
                hang_up(self._waiting.pop(next(iter(self._waiting))))
            self._waiting[id(connection)] = connection

    def leave(self, connection: Any) -> None:
        """It is admitted or refused. Call it before the connection is closed."""
        with self._mutex:
            self._waiting.pop(id(connection), None)


def peer_of(fd: int) -> tuple[int, int]:
    """Process and user at the other end of a local socket; process 0 when the kernel does not tell."""
    with socket.socket(fileno=os.dup(fd)) as line:
        credentials = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, user, _group = struct.unpack("3i", credentials)
    return pid, user


def hang_up(connection: Any) -> None:
    """End a connection that another thread waits at, or a listening socket; whoever has it closes it."""
    with socket.socket(fileno=os.dup(connection.fileno())) as line:
        try:
            line.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # its other end was faster
