"""ctypes objects behind a lock that is called through Python: any type, any lock.

`Value` of a plain type with a lock of its own does not come here; see values.py.
"""

import ctypes
from collections.abc import Sequence
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

from procession._shared import memory
from procession._shared.locks import RLock


class SynchronizedBase:
    """What all synchronised objects share."""

    __module__ = "procession.sharedctypes"

    def get_obj(self) -> Any:
        """The ctypes object, which knows nothing of the lock."""
        raise NotImplementedError

    def get_lock(self) -> Any:
        """The lock."""
        raise NotImplementedError


class SynchronizedObject(SynchronizedBase):
    """An object and a lock; `with` takes the lock."""

    __module__ = "procession.sharedctypes"

    def __init__(self, obj: Any, lock: Any = None, ctx: object = None) -> None:  # noqa: ARG002  the standard library's signature
        self._obj = obj
        self._lock = lock or RLock()
        self.acquire = self._lock.acquire
        self.release = self._lock.release

    def __enter__(self) -> Any:
        return self._lock.__enter__()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> Any:
        return self._lock.__exit__(exc_type, exc, tb)

    def __reduce__(self) -> tuple[Any, ...]:
        if memory.is_in_arena(self._obj):
            opener, arguments = memory.reduce_object(self._obj)
            return _rebuild, (opener, arguments, self._lock)
        return synchronized, (self._obj, self._lock)

    def get_obj(self) -> Any:
        return self._obj

    def get_lock(self) -> Any:
        return self._lock

    def __repr__(self) -> str:
        return f"<{type(self).__name__} wrapper for {self._obj}>"


def _rebuild(opener: Any, arguments: tuple[Any, ...], lock: Any) -> SynchronizedObject:
    wrapped: SynchronizedObject = synchronized(opener(*arguments), lock)
    return wrapped


def under_lock(name: str) -> property:
    """A property that reads and writes the object's attribute of that name under the lock."""

    def read(self: SynchronizedObject) -> Any:
        with self:
            return getattr(self._obj, name)

    def write(self: SynchronizedObject, value: Any) -> None:
        with self:
            setattr(self._obj, name, value)

    return property(read, write)


class SynchronizedValue(SynchronizedObject):
    """A simple value whose type or lock is not the core's."""

    __module__ = "procession.sharedctypes"
    value = under_lock("value")

    def add(self, n: Any, /) -> Any:
        """Add under the lock and return the new value."""
        with self:
            self._obj.value += n
            return self._obj.value

    def compare_exchange(self, old: Any, new: Any, /) -> bool:
        """Set the value to `new` if it is `old`, under the lock; whether it was."""
        with self:
            if self._obj.value != old:
                return False
            self._obj.value = new
            return True


SynchronizedValue.__name__ = SynchronizedValue.__qualname__ = "Synchronized"  # as users see it in a repr


class SynchronizedArray(SynchronizedObject):
    """An array; each access takes the lock."""

    __module__ = "procession.sharedctypes"

    def __len__(self) -> int:
        return len(self._obj)

    def __getitem__(self, i: Any) -> Any:
        with self:
            return self._obj[i]

    def __setitem__(self, i: Any, value: Any) -> None:
        with self:
            self._obj[i] = value

    def __getslice__(self, start: int, stop: int) -> Any:
        with self:
            return self._obj[start:stop]

    def __setslice__(self, start: int, stop: int, values: Sequence[Any]) -> None:
        with self:
            self._obj[start:stop] = values


class SynchronizedString(SynchronizedArray):
    """An array of characters, which is also a bytes object of a fixed length."""

    __module__ = "procession.sharedctypes"
    value = under_lock("value")
    raw = under_lock("raw")


_of_structure: WeakKeyDictionary[type, type[SynchronizedObject]] = WeakKeyDictionary()


def _class_for(obj: Any) -> type[SynchronizedObject]:
    if isinstance(obj, ctypes._SimpleCData):
        return SynchronizedValue
    if isinstance(obj, ctypes.Array):
        return SynchronizedString if obj._type_ is ctypes.c_char else SynchronizedArray
    return _class_for_structure(type(obj))


def _class_for_structure(type_: Any) -> type[SynchronizedObject]:
    if type_ not in _of_structure:
        fields = {field[0]: under_lock(field[0]) for field in type_._fields_}
        _of_structure[type_] = type("Synchronized" + type_.__name__, (SynchronizedObject,), fields)
    return _of_structure[type_]


def synchronized(obj: Any, lock: Any = None, ctx: object = None) -> Any:  # noqa: ARG001  the standard library's signature
    """`obj` behind `lock`, or behind a new recursive lock."""
    assert not isinstance(obj, SynchronizedBase), "object already synchronized"  # noqa: S101  the standard library's
    return _class_for(obj)(obj, lock)
