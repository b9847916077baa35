"""`Value` for the plain types: a cell and its lock in one cache line, read and written by the core."""

import ctypes
from typing import Any, Final

from procession import _native
from procession._shared import handles, memory
from procession._shared.locks import RLock
from procession._shared.synchronized import SynchronizedBase
from procession._wire.carry import board

PLAIN: Final[tuple[Any, ...]] = (
    ctypes.c_bool,
    ctypes.c_char,
    ctypes.c_wchar,
    ctypes.c_byte,
    ctypes.c_ubyte,
    ctypes.c_short,
    ctypes.c_ushort,
    ctypes.c_int,
    ctypes.c_uint,
    ctypes.c_long,
    ctypes.c_ulong,
    ctypes.c_longlong,
    ctypes.c_ulonglong,
    ctypes.c_float,
    ctypes.c_double,
)
CODES: Final[dict[Any, str]] = {type_: type_._type_ for type_ in PLAIN}
"""The core's name of each ctypes type that it reads and writes itself: these very types, no subclass."""
TYPES: Final[dict[str, Any]] = {code: type_ for type_, code in CODES.items()}


@_native.fast_methods
class Synchronized(_native.Value, SynchronizedBase):
    """A value that every process reads and writes under its lock.

    `value`, `add()` and `compare_exchange()` take the lock themselves, so whoever
    holds `get_lock()` excludes them all; the lock is recursive. When its holder is
    killed, the next to take it is told so as with `Lock`.
    """

    __module__ = "procession.sharedctypes"

    def get_obj(self) -> Any:
        """The ctypes object, which knows nothing of the lock."""
        return memory.object_over(TYPES[self.code], self)

    def create_memoryview(self) -> memoryview:
        """The value's bytes, writable, without the lock."""
        return memoryview(self._memory())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} wrapper for {self.get_obj()}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_value, (type(self), self.code, self._handle(), board(self))


def _open_value(face: type[Synchronized], code: str, handle: handles.Handle, _ticket: Any) -> Synchronized:
    return face.__new__(face, code, _handle=handle)


def new_value(type_: Any, arguments: tuple[Any, ...], on_owner_death: str) -> Synchronized:
    """A value of one of the PLAIN types, with a lock of its own."""
    if len(arguments) > 1 or (arguments and arguments[0] is None):
        arguments = (type_(*arguments).value,)  # ctypes knows what to make of it, or what to raise
    return Synchronized(CODES[type_], *arguments, on_owner_death=on_owner_death)


def new_lock(on_owner_death: str) -> RLock:
    """The lock for a value of another type."""
    return RLock(on_owner_death=on_owner_death)
