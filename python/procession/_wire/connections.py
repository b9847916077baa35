"""`Connection` and `Pipe`: the standard library's interface and wire format, natively.

Its `Connection` is a base of ours, for programs that ask by isinstance() and for the
private methods that some reach for; what is done with messages is the core's. A
connection is a descriptor and an object in the arena, by which all who have the same
end take turns, and both ends of a pipe learn of a death in the middle of a message:

    descriptor   travels as the standard library's do: with the child, or by the resource sharer
    object       travels beside it; who belongs to another family gets one of its own
"""

import os
from collections.abc import Callable
from io import BytesIO
from multiprocessing import connection as standard
from multiprocessing import reduction, resource_sharer
from multiprocessing.context import get_spawning_popen
from typing import Any, Final

from procession import _native
from procession._base.errors import StaleHandleError
from procession._wire.carry import ArenaTicket, board

Handle = tuple[bytes, int, int]

ARRIVAL: Final = 10.0  # seconds that the sharer's thread gives a receiver to say that it has the object

_HOOKS: Final = ("_send", "_recv", "_send_bytes", "_recv_bytes", "_poll")
_PUBLIC: Final = ("send", "recv", "send_bytes", "recv_bytes", "recv_bytes_into", "poll")


class Connection(_native.Connection, standard.Connection):
    """One end of a connection: what `Pipe()`, `Client()` and `Listener.accept()` give.

    Messages are whole, however many processes and threads send and receive here at
    once: each direction has a turn at either end. Who is killed between two messages
    disturbs nobody. Who is killed in the middle of one ends that direction: receivers
    get TornMessageError once they have read what is whole, senders BrokenPipeError. It can
    be pickled at any time, and then is a second way to the same end.
    """

    __module__ = "procession.connection"

    def __init_subclass__(cls, **options: Any) -> None:
        """What a subclass puts in the place of the standard library's inner methods is called, as there."""
        super().__init_subclass__(**options)
        if any(name in vars(cls) for name in _HOOKS):
            for name in _PUBLIC:
                if name not in vars(cls):
                    setattr(cls, name, getattr(standard._ConnectionBase, name))

    def _recv_bytes(self, maxsize: int | None = None) -> BytesIO:
        buffer = BytesIO(_native.Connection.recv_bytes(self, maxsize))
        buffer.seek(0, os.SEEK_END)
        return buffer

    def __reduce__(self) -> tuple[Any, ...]:
        return reduce_connection(self)


def Pipe(duplex: bool = True) -> tuple[Connection, Connection]:
    """Two connections that are each other's ends; without `duplex` the first one receives, the second sends."""
    return Connection._pair(bool(duplex))


class _Anchor:
    """The object behind an end, as `board` takes it."""

    def __init__(self, connection: Connection) -> None:
        self._anchor = connection._anchor()

    def _handle(self) -> Handle:
        return self._anchor._object()

    def _pin(self) -> None:
        raise NotImplementedError("a connection is never pinned")


class Parcel:
    """A connection on its way to a process that exists already, which fetches it from our sharer.

    The object behind it is kept until the other side has it, or for as long as the
    sharer keeps the descriptor.
    """

    def __init__(self, connection: Connection) -> None:
        anchor = connection._anchor()
        anchor._handle = os.dup(connection.fileno())
        self._object, self._side = anchor._object(), anchor._side

        def send(line: Any, pid: int) -> None:
            reduction.send_handle(line, anchor.fileno(), pid)
            line.poll(ARRIVAL)

        # The sharer calls both in turn and forgets them: then nothing keeps the copy and the object.
        self._id = resource_sharer._resource_sharer.register(send, anchor.close)  # type: ignore[attr-defined]

    def open(self, cls: type[Connection], readable: bool, writable: bool) -> Connection:
        """The connection. This can be done once."""
        with resource_sharer._resource_sharer.get_connection(self._id) as line:  # type: ignore[attr-defined]
            return _arrive(cls, reduction.recv_handle(line), readable, writable, self._object, self._side)


def reduce_connection(conn: Connection) -> tuple[Callable[..., Connection], tuple[Any, ...]]:
    """How a connection is pickled."""
    if get_spawning_popen() is None:
        return _open_parcel, (type(conn), Parcel(conn), conn.readable, conn.writable)
    anchor = _Anchor(conn)
    ticket = board(anchor)
    descriptor = reduction.DupFd(conn.fileno())
    way = (conn.readable, conn.writable, anchor._handle(), conn._side)
    return _unpack, (type(conn), ticket, descriptor, *way)


def rebuild_connection(df: Any, readable: bool, writable: bool) -> Connection:
    """A connection over the descriptor that `df.detach()` gives."""
    return Connection(df.detach(), readable, writable)


def _open_parcel(cls: type[Connection], parcel: Parcel, readable: bool, writable: bool) -> Connection:
    return parcel.open(cls, readable, writable)


def _unpack(
    cls: type[Connection],
    _ticket: ArenaTicket | None,
    descriptor: Any,
    readable: bool,
    writable: bool,
    handle: Handle,
    side: int,
) -> Connection:
    return _arrive(cls, descriptor.detach(), readable, writable, handle, side)


def _arrive(
    cls: type[Connection], fd: int, readable: bool, writable: bool, handle: Handle, side: int
) -> Connection:
    try:
        return cls._arrive(fd, readable, writable, handle, side)
    except StaleHandleError:  # of another family of processes
        return cls(fd, readable, writable)


# Pickles name them where importing them also tells the core what to raise.
_open_parcel.__module__ = _unpack.__module__ = "procession.connection"

reduction.register(Connection, reduce_connection)
