"""Datagrams with descriptors, as zygote, clients and children send them to each other.

All sockets here are SOCK_SEQPACKET pairs: a message comes whole or not at all, an empty
one means that the other end is closed, and what is in flight lives although its sender
has ended.
"""

from __future__ import annotations

import socket
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MOST: int = 200
"""Descriptors in one message; the kernel takes 253."""

_SPACE = socket.CMSG_SPACE(4 * MOST)
_SINGLE = Struct("=i")


class GoneError(Exception):
    """Nobody has the other end any more."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def adopt(fd: int) -> socket.socket:
    """The socket behind a descriptor that was inherited or received."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fd)


def send(to: socket.socket, parts: Sequence[bytes], fds: Sequence[int] = ()) -> None:
    """Send the parts as one message. Blocks while the other end does not keep up; GoneError when nobody has it."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, b"".join(map(_SINGLE.pack, fds)))] if fds else []
    try:
        to.sendmsg(parts, rights)
    except ConnectionError as error:
        raise GoneError from error


def receive(end: socket.socket, size: int) -> tuple[bytes, list[int]]:
    """One message and its descriptors, close-on-exec. Blocks; GoneError when there will be none."""
    try:
        message, rights, _, _ = end.recvmsg(size, _SPACE, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError as error:
        raise GoneError from error
    if not message:
        raise GoneError
    return message, [fd for _, _, data in rights for (fd,) in _SINGLE.iter_unpack(data)]
