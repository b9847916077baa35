"""`Listener` and `Client`: connections between programs, by the address of a socket.

Whoever can reach the address can knock: until a client has proved that it knows the
key, nothing of it is unpickled, no message longer than 256 bytes is read, and it has
`CONNECTION_TIMEOUT` seconds for all of the handshake. `accept()` then raises, closes that
connection, and can be called again.
"""

import os
import socket
from collections.abc import Callable
from importlib import import_module
from multiprocessing import AuthenticationError, util
from multiprocessing import connection as standard
from multiprocessing.connection import address_type, arbitrary_address  # type: ignore[attr-defined]
from time import monotonic
from types import TracebackType
from typing import Any, Self

from procession._wire.authentication import answer_challenge, deliver_challenge
from procession._wire.connections import Connection

Address = Any  # a path, an abstract name or (host, port)


def _check_family(family: str | None) -> None:
    if family == "AF_PIPE":
        raise ValueError(f"Family {family} is not recognized.")


def _check_key(authkey: Any) -> None:
    if authkey is not None and not isinstance(authkey, bytes):
        raise TypeError("authkey should be a byte string")


class _Stranger:
    """A connection during the handshake: all of it has one deadline."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._until = monotonic() + standard.CONNECTION_TIMEOUT  # type: ignore[attr-defined]

    def send_bytes(self, buf: bytes) -> None:
        self._connection.send_bytes(buf)

    def recv_bytes(self, maxlength: int) -> bytes:
        try:
            return self._connection._recv_bytes_within(maxlength, max(0.0, self._until - monotonic()))
        except TimeoutError:
            raise AuthenticationError("the other end did not answer in time") from None


def _authenticate(connection: Connection, authkey: bytes, *steps: Callable[[Any, bytes], None]) -> None:
    stranger = _Stranger(connection)
    try:
        for step in steps:
            step(stranger, authkey)
    except BaseException:
        connection.close()
        raise


def admit(connection: Connection, authkey: bytes) -> None:
    """Have a client that has been accepted prove that it knows the key, and prove it to the client; else close it."""
    _authenticate(connection, authkey, deliver_challenge, answer_challenge)


class SocketListener:
    """A socket that is bound to an address and listens."""

    __module__ = "procession.connection"

    def __init__(self, address: Address, family: str, backlog: int = 1) -> None:
        self._socket = socket.socket(getattr(socket, family))
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.setblocking(True)
            self._socket.bind(address)
            self._socket.listen(backlog)
            self._address = self._socket.getsockname()
        except OSError:
            self._socket.close()
            raise
        self._family = family
        self._last_accepted: Any = None
        self._unlink: Any = None
        if family == "AF_UNIX" and not util.is_abstract_socket_namespace(address):
            self._unlink = util.Finalize(self, os.unlink, args=(address,), exitpriority=0)

    def accept(self) -> Connection:
        """The next client; blocks until there is one."""
        accepted, self._last_accepted = self._socket.accept()
        accepted.setblocking(True)
        return Connection(accepted.detach())

    def close(self) -> None:
        """Close the socket and remove its file."""
        try:
            self._socket.close()
        finally:
            unlink, self._unlink = self._unlink, None
            if unlink is not None:
                unlink()


def SocketClient(address: Address) -> Connection:
    """A connection to the socket that listens at `address`."""
    with socket.socket(getattr(socket, address_type(address))) as connecting:
        connecting.setblocking(True)
        connecting.connect(address)
        return Connection(connecting.detach())


class Listener(standard.Listener):
    """A place where clients come: a socket of `family` bound to `address`, or to one of its own choice.

    With `authkey`, client and listener prove to each other that they know it.
    """

    __module__ = "procession.connection"

    def __init__(
        self,
        address: Address | None = None,
        family: str | None = None,
        backlog: int = 1,
        authkey: bytes | None = None,
    ) -> None:
        family = family or (address and address_type(address)) or standard.default_family  # type: ignore[attr-defined]
        address = address or arbitrary_address(family)
        _check_family(family)
        self._listener: SocketListener | None = SocketListener(address, str(family), backlog)
        try:
            _check_key(authkey)
        except TypeError:
            self._listener.close()
            raise
        self._authkey = authkey

    def accept(self) -> Connection:
        """The next client's connection; blocks until one comes.

        AuthenticationError when it does not know the key, EOFError or OSError when
        it goes away or sends something else: that connection is closed, and the
        listener goes on.
        """
        if self._listener is None:
            raise OSError("listener is closed")
        accepted = self._listener.accept()
        if self._authkey is not None:
            admit(accepted, self._authkey)
        return accepted

    def close(self) -> None:
        """Close the socket; clients that nobody has accepted are refused. Connections go on."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    @property
    def address(self) -> Address:
        """Where clients come to."""
        return self._listener._address  # type: ignore[union-attr]

    @property
    def last_accepted(self) -> Address | None:
        """Where the last client came from; None when that is not known."""
        return self._listener._last_accepted  # type: ignore[union-attr]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self.close()


def Client(address: Address, family: str | None = None, authkey: bytes | None = None) -> Connection:
    """A connection to the listener at `address`.

    AuthenticationError when either end does not know the other's key; OSError when nobody listens there.
    """
    _check_family(family or address_type(address))
    connected = SocketClient(address)
    try:
        _check_key(authkey)
    except TypeError:
        connected.close()
        raise
    if authkey is not None:
        _authenticate(connected, authkey, answer_challenge, deliver_challenge)
    return connected


def xml_dumps(obj: Any) -> bytes:
    """An object as XML-RPC."""
    return str(import_module("xmlrpc.client").dumps((obj,), None, None, None, 1)).encode()


def xml_loads(message: bytes) -> Any:
    """The object that an XML-RPC message holds."""
    (obj,), _method = import_module("xmlrpc.client").loads(message.decode())
    return obj


class XmlListener(Listener):
    """A listener whose connections carry objects as XML-RPC does."""

    __module__ = "procession.connection"

    def accept(self) -> Any:
        """The next client's connection."""
        return standard.ConnectionWrapper(super().accept(), xml_dumps, xml_loads)  # type: ignore[attr-defined]


def XmlClient(*args: Any, **kwds: Any) -> Any:
    """A connection to an `XmlListener`."""
    return standard.ConnectionWrapper(Client(*args, **kwds), xml_dumps, xml_loads)  # type: ignore[attr-defined]
