"""`Array` of the plain types: items and their lock in one block, read and written by the core."""

from typing import Any

from procession import _native
from procession._shared import handles, memory
from procession._shared.synchronized import SynchronizedArray, SynchronizedString
from procession._shared.values import CODES, TYPES
from procession._wire.carry import board


@_native.fast_methods
class PlainArray(_native.Array, SynchronizedArray):
    """An array that every process reads and writes under its lock.

    An item or a slice is one access under the lock, so whoever holds `get_lock()`
    excludes them all; the lock is recursive. When its holder is killed, the next to
    take it is told so as with `Lock`. `get_obj()` is the ctypes array without the
    lock, for numpy and memoryview.
    """

    __module__ = "procession.sharedctypes"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """All is done: the slower arrays' constructor takes an object and a lock."""

    def get_obj(self) -> Any:
        """The ctypes array, which knows nothing of the lock."""
        return memory.object_over(TYPES[self.code] * len(self), self)

    @property
    def _obj(self) -> Any:
        return self.get_obj()

    @property
    def _lock(self) -> Any:  # type: ignore[override]  # the slower arrays are given theirs
        return self.get_lock()

    # What the core leaves to ctypes.
    def _get(self, key: Any) -> Any:
        with self:
            return self.get_obj()[key]

    def _set(self, key: Any, value: Any) -> None:
        with self:
            self.get_obj()[key] = value

    def create_memoryview(self) -> memoryview:
        """The items' bytes, writable, without the lock."""
        return memoryview(self._memory())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} wrapper for {self.get_obj()}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_array, (self.code, self._handle(), board(self))


@_native.fast_methods
class PlainString(PlainArray, SynchronizedString):
    """An array of characters, which is also a bytes object of a fixed length."""

    __module__ = "procession.sharedctypes"


# As users see them in a repr: the slower ones of the same names are their base classes.
PlainArray.__name__ = PlainArray.__qualname__ = "SynchronizedArray"
PlainString.__name__ = PlainString.__qualname__ = "SynchronizedString"


def _face(code: str) -> Any:
    return PlainString if code == "c" else PlainArray


def _open_array(code: str, handle: handles.Handle, _ticket: Any) -> PlainArray:
    face = _face(code)
    array: PlainArray = face.__new__(face, code, _handle=handle)
    return array


def new_array(type_: Any, size_or_initializer: Any, on_owner_death: str) -> PlainArray:
    """An array of one of the PLAIN types, with a lock of its own."""
    is_size = isinstance(size_or_initializer, int)
    whole = type_ * (
        size_or_initializer if is_size else len(size_or_initializer)
    )  # ctypes refuses what cannot be
    face = _face(CODES[type_])
    array: PlainArray = face.__new__(face, CODES[type_], whole._length_, on_owner_death=on_owner_death)
    if not is_size:
        array.get_obj().__init__(*size_or_initializer)
    return array
