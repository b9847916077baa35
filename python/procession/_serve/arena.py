"""Proxies of what lies in the arena, and in no server.

    proxy ---- life       0, or 1 once the manager has been shut down       one word for all its objects
          `--- referent   a container, a lock, a queue

A call goes straight to the object: no process is asked, and none can be in the way. What the standard
library promises of proxies holds: values are copies, proxies in containers are the objects themselves, and
`_callmethod()` calls what is exposed. Objects live as long as somebody has them, whoever made them.
"""

import traceback
from collections.abc import Callable
from typing import Any, ClassVar, Final, NoReturn, Self

from procession._base.errors import ManagerDiedError
from procession._serve.messages import RemoteError, Token
from procession._serve.proxies import BaseProxy
from procession._shared.containers import wiring as _wiring  # noqa: F401  before the first object
from procession._shared.containers.counters import Counter

PLACE: Final = "arena"
"""In the place of a server's address."""
SLICE: Final = 1.0
"""Seconds after which who waits looks whether the manager has been shut down."""


class ArenaProxy:
    """In front of a proxy's class: the object is here."""

    _typeid: ClassVar[str]
    _exposed_: ClassVar[tuple[str, ...]]
    _manager = None
    _serializer = "pickle"

    _life: Counter
    _referent: Any
    _rest: tuple[Any, ...] = ()

    def __init__(self, life: Counter, referent: Any, *rest: Any) -> None:
        self._life, self._referent = life, referent
        if rest:
            self._rest = rest

    @staticmethod
    def _prepare(*args: Any, **kwds: Any) -> Any:
        """What the arguments mean; an error of theirs would be a server's."""
        raise NotImplementedError

    @classmethod
    def _build(cls, prepared: Any) -> tuple[Any, ...]:
        """The referent, and what else a proxy has to know. Values that cannot be pickled raise."""
        parts: tuple[Any, ...] = prepared
        return parts

    @classmethod
    def _made(cls, life: Counter, args: Any, kwds: Any) -> Self:
        """A proxy of a new object."""
        try:
            prepared = cls._prepare(*args, **kwds)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  anybody's iterators and numbers
            raise as_remote(error) from None
        return cls(life, *cls._build(prepared))

    def _refuse(self) -> NoReturn:
        raise ManagerDiedError(f"the manager of this {type(self).__name__} has been shut down")

    def _here(self) -> Any:
        """The object; ManagerDiedError when the manager has been shut down."""
        if self._life.value:
            self._refuse()
        return self._referent

    @property
    def _id(self) -> str:
        _nonce, offset, serial = self._referent._handle()
        return f"{offset:x}-{serial:x}"

    @property
    def _token(self) -> Token:
        return Token(self._typeid, PLACE, self._id)

    def _callmethod(self, methodname: str, args: Any = (), kwds: Any = {}) -> Any:  # noqa: B006  theirs
        """Call a method of the object; RemoteError when it is none of those that may be called."""
        if methodname == "#GETVALUE":
            return self._getvalue()
        if methodname in ("__repr__", "__str__"):
            return self._text()
        return self._method(methodname)(*args, **kwds)

    def _method(self, name: str) -> Callable[..., Any]:
        self._here()
        if name not in self._exposed_:
            kind, exposed = type(self._referent), set(self._exposed_)
            raise as_remote(
                AttributeError(f"method {name!r} of {kind!r} object is not in exposed={exposed!r}")
            )
        method: Callable[..., Any] = getattr(self, name)
        return method

    def _shut(self) -> None:
        """The manager has been shut down: wake whoever waits for this object, to hear of it."""

    def _getvalue(self) -> Any:
        """A copy of the object."""
        kind = type(self).__name__
        raise RemoteError(f"Unserializable message: the object of this {kind} is no value\n")

    def _text(self) -> str:
        """What the object's repr is."""
        return repr(self._here())

    def __reduce__(self) -> tuple[Any, ...]:
        return open_proxy, (self._typeid, self._life, self._referent, *self._rest)

    def _reduce_for_message(self) -> Any:
        return self.__reduce__()


def as_remote(error: Exception) -> RemoteError:
    """What goes wrong around a call, as a server would have said it: with the error's traceback."""
    return RemoteError("".join(traceback.format_exception(error)))


def forward(name: str) -> Callable[..., Any]:
    """A method that calls the object's of that name."""

    def method(self: ArenaProxy, /, *args: Any, **kwds: Any) -> Any:
        if self._life.value:
            self._refuse()
        return getattr(self._referent, name)(*args, **kwds)

    method.__name__ = method.__qualname__ = name
    return method


KINDS: dict[str, type[ArenaProxy]] = {}


def arena_kind(kind: type[ArenaProxy]) -> type[ArenaProxy]:
    """Registers a class as that of its typeid; to programs it has the name of the class that it stands for."""
    KINDS[kind._typeid] = kind
    stood_for = next(base for base in kind.__mro__[1:] if issubclass(base, BaseProxy))
    kind.__name__ = kind.__qualname__ = stood_for.__name__
    kind.__module__ = "procession.managers"
    return kind


def open_proxy(typeid: str, life: Counter, *parts: Any) -> ArenaProxy:
    """A proxy out of a pickle."""
    return KINDS[typeid](life, *parts)


# Who unpickles it by that name has imported all kinds.
open_proxy.__module__ = "procession.managers"


def plain(value: Any) -> Any:
    """A copy of what a proxy stands for; other values are themselves."""
    copy = getattr(value, "_getvalue", None)
    return value if copy is None else copy()
