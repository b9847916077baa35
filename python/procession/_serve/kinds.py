"""The proxies of what a `SyncManager`'s server holds, and the plain objects there."""

import collections.abc
from importlib import import_module
from time import monotonic
from types import GenericAlias
from typing import Any

from procession._serve.messages import travels_as
from procession._serve.proxies import BaseProxy, MakeProxyType, results_are

# mypy: disable-error-code="override, misc, assignment, attr-defined, no-untyped-call, valid-type, no-any-return"

standard: Any = import_module("multiprocessing.managers")  # its stubs leave half of it out


class IteratorProxy(BaseProxy, standard.IteratorProxy):
    """An iterator in a server."""

    __module__ = "procession.managers"
    _exposed_ = ("__next__", "send", "throw", "close")

    def __iter__(self) -> Any:
        return self

    def __next__(self, *args: Any) -> Any:
        return self._callmethod("__next__", args)

    def send(self, *args: Any) -> Any:
        """As a generator's."""
        return self._callmethod("send", args)

    def throw(self, *args: Any) -> Any:
        """As a generator's."""
        return self._callmethod("throw", args)

    def close(self, *args: Any) -> Any:
        """As a generator's."""
        return self._callmethod("close", args)


class AcquirerProxy(BaseProxy, standard.AcquirerProxy):
    """A lock or a semaphore."""

    __module__ = "procession.managers"
    _exposed_ = ("acquire", "release", "locked")

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Acquire it; whether that was done, when not `blocking` or before the timeout."""
        return self._callmethod("acquire", (blocking,) if timeout is None else (blocking, timeout))

    def release(self) -> None:
        """Release it."""
        return self._callmethod("release")

    def locked(self) -> bool:
        """Whether somebody holds it."""
        return self._callmethod("locked")

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()


class ConditionProxy(AcquirerProxy, standard.ConditionProxy):
    """A condition variable."""

    __module__ = "procession.managers"
    _exposed_ = ("acquire", "release", "wait", "notify", "notify_all")

    def wait(self, timeout: float | None = None) -> bool:
        """Give the lock back, wait to be notified, acquire it again; False after a timeout."""
        return self._callmethod("wait", (timeout,))

    def notify(self, n: int = 1) -> None:
        """Wake up to n of those who wait."""
        return self._callmethod("notify", (n,))

    def notify_all(self) -> None:
        """Wake all who wait."""
        return self._callmethod("notify_all")

    def wait_for(self, predicate: Any, timeout: float | None = None) -> Any:
        """Wait until `predicate()`, called with the lock held, is true; its last value."""
        end = None if timeout is None else monotonic() + timeout
        while not (result := predicate()):
            left = None if end is None else end - monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
        return result


class EventProxy(BaseProxy, standard.EventProxy):
    """A flag to wait for."""

    __module__ = "procession.managers"
    _exposed_ = ("is_set", "set", "clear", "wait")

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._callmethod("is_set")

    def set(self) -> None:
        """Set it, and let all go who wait."""
        return self._callmethod("set")

    def clear(self) -> None:
        """Unset it."""
        return self._callmethod("clear")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set; whether it is."""
        return self._callmethod("wait", (timeout,))


class BarrierProxy(BaseProxy, standard.BarrierProxy):
    """A place where parties wait for each other."""

    __module__ = "procession.managers"
    _exposed_ = ("__getattribute__", "wait", "abort", "reset")

    def wait(self, timeout: float | None = None) -> int:
        """Wait for all parties; which of them this one is."""
        return self._callmethod("wait", (timeout,))

    def abort(self) -> None:
        """Break it: all who wait and all who come get BrokenBarrierError."""
        return self._callmethod("abort")

    def reset(self) -> None:
        """Make it as it was at first; who waits gets BrokenBarrierError."""
        return self._callmethod("reset")

    @property
    def parties(self) -> int:
        """How many have to come."""
        return self._callmethod("__getattribute__", ("parties",))

    @property
    def n_waiting(self) -> int:
        """How many wait now."""
        return self._callmethod("__getattribute__", ("n_waiting",))

    @property
    def broken(self) -> bool:
        """Whether it is broken."""
        return self._callmethod("__getattribute__", ("broken",))


class NamespaceProxy(BaseProxy, standard.NamespaceProxy):
    """Attributes; those that begin with an underscore are the proxy's own."""

    __module__ = "procession.managers"
    _exposed_ = ("__getattribute__", "__setattr__", "__delattr__")

    def __getattr__(self, key: str) -> Any:
        if key[0] == "_":
            return object.__getattribute__(self, key)
        return self._callmethod("__getattribute__", (key,))

    def __setattr__(self, key: str, value: Any) -> None:
        if key[0] == "_":
            object.__setattr__(self, key, value)
        else:
            self._callmethod("__setattr__", (key, value))

    def __delattr__(self, key: str) -> None:
        if key[0] == "_":
            object.__delattr__(self, key)
        else:
            self._callmethod("__delattr__", (key,))


class ValueProxy(BaseProxy, standard.ValueProxy):
    """One value."""

    __module__ = "procession.managers"
    _exposed_ = ("get", "set")

    def get(self) -> Any:
        """The value."""
        return self._callmethod("get")

    def set(self, value: Any) -> None:
        """Have another value."""
        return self._callmethod("set", (value,))

    value = property(lambda self: self.get(), lambda self, value: self.set(value))


BaseListProxy: Any = MakeProxyType(
    "BaseListProxy",
    ("__add__", "__contains__", "__delitem__", "__getitem__", "__imul__", "__len__", "__mul__",
     "__reversed__", "__rmul__", "__setitem__", "append", "clear", "copy", "count", "extend", "index",
     "insert", "pop", "remove", "reverse", "sort"),
)  # fmt: skip


class ListProxy(BaseListProxy, standard.ListProxy):
    """A list."""

    __module__ = "procession.managers"

    def __iadd__(self, value: Any) -> Any:
        self.extend(value)
        return self

    def __imul__(self, value: Any) -> Any:
        self._callmethod("__imul__", (value,))
        return self


_BaseDictProxy: Any = MakeProxyType(
    "DictProxy",
    ("__contains__", "__delitem__", "__getitem__", "__ior__", "__iter__", "__len__", "__or__",
     "__reversed__", "__ror__", "__setitem__", "clear", "copy", "fromkeys", "get", "items", "keys", "pop",
     "popitem", "setdefault", "update", "values"),
)  # fmt: skip
_BaseDictProxy._method_to_typeid_ = {"__iter__": "Iterator"}


class DictProxy(_BaseDictProxy, standard.DictProxy):
    """A dict."""

    __module__ = "procession.managers"

    def __ior__(self, value: Any) -> Any:
        self._callmethod("__ior__", (value,))
        return self


_BaseSetProxy: Any = MakeProxyType(
    "_BaseSetProxy",
    ("__and__", "__contains__", "__ge__", "__gt__", "__iand__", "__ior__", "__isub__",
     "__iter__", "__ixor__", "__le__", "__len__", "__lt__", "__or__", "__rand__", "__ror__", "__rsub__",
     "__rxor__", "__sub__", "__xor__", "add", "clear", "copy", "difference", "difference_update", "discard",
     "intersection", "intersection_update", "isdisjoint", "issubset", "issuperset", "pop", "remove",
     "symmetric_difference", "symmetric_difference_update", "union", "update"),
)  # fmt: skip
_BaseSetProxy._method_to_typeid_ = {"__iter__": "Iterator"}


def _in_place(name: str) -> Any:
    def method(self: Any, value: Any) -> Any:
        self._callmethod(name, (value,))
        return self

    return method


class SetProxy(_BaseSetProxy, *([standard.SetProxy] if hasattr(standard, "SetProxy") else [])):
    """A set."""

    __module__ = "procession.managers"
    __class_getitem__: Any = classmethod(GenericAlias)
    __iand__, __ior__, __isub__, __ixor__ = map(_in_place, ("__iand__", "__ior__", "__isub__", "__ixor__"))


_BaseArrayProxy: Any = MakeProxyType("ArrayProxy", ("__len__", "__getitem__", "__setitem__"))


class ArrayProxy(_BaseArrayProxy, standard.ArrayProxy):
    """An array of numbers of one type."""

    __module__ = "procession.managers"


BasePoolProxy: Any = MakeProxyType(
    "PoolProxy",
    ("apply", "apply_async", "close", "imap", "imap_unordered", "join", "map", "map_async", "starmap",
     "starmap_async", "terminate"),
)  # fmt: skip
BasePoolProxy._method_to_typeid_ = {
    "apply_async": "AsyncResult",
    "map_async": "AsyncResult",
    "starmap_async": "AsyncResult",
    "imap": "Iterator",
    "imap_unordered": "Iterator",
}


class PoolProxy(BasePoolProxy, standard.PoolProxy):
    """A pool of worker processes, which several processes use."""

    __module__ = "procession.managers"

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.terminate()


PROXIES = (
    IteratorProxy, AcquirerProxy, ConditionProxy, EventProxy, BarrierProxy, NamespaceProxy, ValueProxy,
    ListProxy, DictProxy, SetProxy, ArrayProxy, PoolProxy,
)  # fmt: skip
for kind in PROXIES:
    if hasattr(standard, kind.__name__):
        travels_as(getattr(standard, kind.__name__), kind)
results_are("Iterator", IteratorProxy)
collections.abc.MutableMapping.register(_BaseDictProxy)
collections.abc.MutableSequence.register(BaseListProxy)
collections.abc.MutableSet.register(_BaseSetProxy)


Namespace, Value, Array = standard.Namespace, standard.Value, standard.Array
"""What a server holds: the standard library's, which either library can read copies of."""
