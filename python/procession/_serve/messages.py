"""What managers and proxies say to each other: the standard library's protocol, in the standard library's names.

    proxy                                   server
    (ident, method, args, kwds)
                                            ("#RETURN", result) | ("#ERROR", exception)
                                            ("#PROXY", (exposed, token))
                                            ("#TRACEBACK", text) | ("#UNSERIALIZABLE", text)

Either end may be the standard library's. So a proxy that is part of a message is pickled as
the standard library pickles its own, and read as one of ours.
"""

import pickle
from io import BytesIO
from multiprocessing.managers import RemoteError, Token
from multiprocessing.reduction import ForkingPickler
from types import TracebackType
from typing import Any, Final, Self

from procession._wire.listeners import Address, Client, Listener, xml_dumps, xml_loads

__all__ = ["Line", "RemoteError", "Token", "convert_to_error", "dispatch", "listener_client"]

_STANDARD: Final = "multiprocessing.managers"
_ours: dict[str, Any] = {}  # by the standard library's name
_theirs: dict[Any, Any] = {}


def travels_as(theirs: Any, ours: Any) -> None:
    """In messages `ours` goes by the name of `theirs`."""
    _ours[theirs.__name__] = ours
    _theirs[ours] = theirs


def in_standard_names(reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """What `__reduce__` of a proxy returned, for readers who have the standard library only."""
    function, (kind, *rest), *state = reduced
    return _theirs.get(function, function), (_theirs.get(kind, kind), *rest), *state


class _Pickler(ForkingPickler):
    def reducer_override(self, obj: Any) -> Any:
        reduce = getattr(type(obj), "_reduce_for_message", None)
        return NotImplemented if reduce is None else reduce(obj)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == _STANDARD and name in _ours:
            return _ours[name]
        return super().find_class(module, name)


def _dumps(obj: Any) -> bytes:
    into = BytesIO()
    _Pickler(into).dump(obj)
    return into.getvalue()


def _loads(message: bytes) -> Any:
    return _Unpickler(BytesIO(message)).load()


class Line:
    """A connection between a proxy and a server: objects by a serializer, over messages of bytes."""

    _dumps = staticmethod(_dumps)
    _loads = staticmethod(_loads)

    def __init__(self, connection: Any) -> None:
        self._conn = connection
        self.send_bytes = connection.send_bytes
        self.recv_bytes = connection.recv_bytes
        self.fileno = connection.fileno
        self.poll = connection.poll
        self.close = connection.close

    def pack(self, obj: Any) -> bytes:
        """The message that carries an object."""
        return self._dumps(obj)

    def unpack(self, message: bytes) -> Any:
        """The object that a message carries."""
        return self._loads(message)

    def send(self, obj: Any) -> None:
        """Send an object."""
        self.send_bytes(self._dumps(obj))

    def recv(self) -> Any:
        """The next object; EOFError when the other end has gone."""
        return self._loads(self.recv_bytes())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _XmlLine(Line):
    _dumps = staticmethod(xml_dumps)
    _loads = staticmethod(xml_loads)


class _LineListener(Listener):
    _kind: type[Line] = Line

    def accept(self) -> Any:
        """The next client's line."""
        return self._kind(super().accept())


class _XmlLineListener(_LineListener):
    _kind = _XmlLine


def _line_client(address: Address, family: str | None = None, authkey: bytes | None = None) -> Line:
    return Line(Client(address, family, authkey))


def _xml_line_client(address: Address, family: str | None = None, authkey: bytes | None = None) -> Line:
    return _XmlLine(Client(address, family, authkey))


listener_client: Final = {
    "pickle": (_LineListener, _line_client),
    "xmlrpclib": (_XmlLineListener, _xml_line_client),
}
"""By the name of a serializer: who listens for lines, and who connects to them."""


def dispatch(c: Any, id: Any, methodname: str, args: Any = (), kwds: Any = {}) -> Any:  # noqa: B006  theirs
    """Send one request over a connection and return the answer, or raise it."""
    c.send((id, methodname, args, kwds))
    kind, result = c.recv()
    if kind == "#RETURN":
        return result
    try:
        raise convert_to_error(kind, result)
    finally:
        del result  # the error's traceback has this frame


def convert_to_error(kind: str, result: Any) -> BaseException:
    """The exception that an answer stands for."""
    if kind == "#ERROR":
        error: BaseException = result
        return error
    if kind not in ("#TRACEBACK", "#UNSERIALIZABLE"):
        return ValueError(f"Unrecognized message type {kind!r}")
    if not isinstance(result, str):
        raise TypeError(f"Result {result!r} (kind '{kind}') type is {type(result)}, not str")
    return RemoteError(f"Unserializable message: {result}\n" if kind == "#UNSERIALIZABLE" else result)


for function in (dispatch, convert_to_error):
    function.__module__ = "procession.managers"
