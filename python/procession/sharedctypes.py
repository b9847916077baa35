"""Values and arrays of ctypes types in shared memory."""

import ctypes
from importlib import import_module
from typing import Any

from procession._shared import arrays, memory, values
from procession._shared.synchronized import (
    SynchronizedArray,
    SynchronizedBase,
    SynchronizedString,
    synchronized,
)
from procession._shared.values import Synchronized

__all__ = [
    "Array",
    "RawArray",
    "RawValue",
    "Synchronized",
    "SynchronizedArray",
    "SynchronizedBase",
    "SynchronizedString",
    "Value",
    "copy",
    "synchronized",
]

typecode_to_type = {
    "c": ctypes.c_char,
    "u": ctypes.c_wchar,
    "b": ctypes.c_byte,
    "B": ctypes.c_ubyte,
    "h": ctypes.c_short,
    "H": ctypes.c_ushort,
    "i": ctypes.c_int,
    "I": ctypes.c_uint,
    "l": ctypes.c_long,
    "L": ctypes.c_ulong,
    "q": ctypes.c_longlong,
    "Q": ctypes.c_ulonglong,
    "f": ctypes.c_float,
    "d": ctypes.c_double,
}


def _type_of(typecode_or_type: Any) -> Any:
    return typecode_to_type.get(typecode_or_type, typecode_or_type)


def RawValue(typecode_or_type: Any, *args: Any) -> Any:
    """A ctypes object in shared memory, without a lock: reads and writes are the machine's."""
    obj = memory.new_object(_type_of(typecode_or_type))
    obj.__init__(*args)
    return obj


def RawArray(typecode_or_type: Any, size_or_initializer: Any) -> Any:
    """A ctypes array in shared memory, without a lock: zeros of a given length, or a copy of a sequence."""
    type_ = _type_of(typecode_or_type)
    if isinstance(size_or_initializer, int):
        return memory.new_object(type_ * size_or_initializer)
    array = memory.new_object(type_ * len(size_or_initializer))
    array.__init__(*size_or_initializer)
    return array


def Value(
    typecode_or_type: Any,
    *args: Any,
    lock: Any = True,
    ctx: object = None,  # noqa: ARG001  the standard library's signature
    on_owner_death: str = "recover",
) -> Any:
    """A ctypes value in shared memory behind a lock.

    `value`, `add(n)` and `compare_exchange(old, new)` each take the lock. Plain
    types with a lock of their own are read and written by the core; any other type,
    or a lock that is given, works the same, more slowly. `lock=False` gives a RawValue.
    """
    type_ = _type_of(typecode_or_type)
    if lock in (True, None) and type_ in values.CODES:
        return values.new_value(type_, args, on_owner_death)
    return _behind_lock(RawValue(type_, *args), lock, on_owner_death)


def Array(
    typecode_or_type: Any,
    size_or_initializer: Any,
    *,
    lock: Any = True,
    ctx: object = None,  # noqa: ARG001  the standard library's signature
    on_owner_death: str = "recover",
) -> Any:
    """A ctypes array in shared memory behind a lock, which each access takes.

    Arrays of plain types with a lock of their own are read and written by the core;
    any other type, or a lock that is given, works the same, more slowly. `lock=False`
    gives a RawArray.
    """
    type_ = _type_of(typecode_or_type)
    if lock in (True, None) and type_ in values.CODES:
        return arrays.new_array(type_, size_or_initializer, on_owner_death)
    return _behind_lock(RawArray(typecode_or_type, size_or_initializer), lock, on_owner_death)


def _behind_lock(obj: Any, lock: Any, on_owner_death: str) -> Any:
    if lock is False:
        return obj
    if lock in (True, None):
        return synchronized(obj, values.new_lock(on_owner_death))
    if not hasattr(lock, "acquire"):
        raise AttributeError(f"{lock!r} has no method 'acquire'")
    return synchronized(obj, lock)


def copy(obj: Any) -> Any:
    """A new ctypes object in shared memory with the same contents."""
    duplicate = memory.new_object(type(obj))
    ctypes.pointer(duplicate)[0] = obj
    return duplicate


def __getattr__(name: str) -> Any:
    return getattr(import_module("multiprocessing.sharedctypes"), name)
