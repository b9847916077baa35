"""Bytes in the arena as a buffer that can be pickled, and ctypes objects over it."""

import ctypes
import sys
from typing import Any

from procession import _native
from procession._shared import handles
from procession._wire import ctypes_reducer


class BufferWrapper:
    """Zeroed bytes in shared memory, freed with the last handle to them."""

    __module__ = "procession.heap"

    def __init__(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"Size {size:n} out of range")
        if sys.maxsize <= size:
            raise OverflowError(f"Size {size:n} too large")
        self._memory, self._size = _native.Memory(max(size, 1)), size

    def create_memoryview(self) -> memoryview:
        """The bytes, writable."""
        return memoryview(self._memory)[: self._size]

    def __reduce__(self) -> tuple[Any, ...]:
        return _wrap, (self._size, *handles.reduce(self._memory))


def _wrap(size: int, opener: Any, arguments: tuple[Any, ...]) -> BufferWrapper:
    wrapper = BufferWrapper.__new__(BufferWrapper)
    wrapper._memory, wrapper._size = opener(*arguments), size
    return wrapper


def new_object(type_: Any) -> Any:
    """A zeroed ctypes object of that type in shared memory."""
    return object_over(type_, BufferWrapper(ctypes.sizeof(type_)))


def object_over(type_: Any, wrapper: Any) -> Any:
    """The ctypes object of that type that lies in `wrapper`'s bytes."""
    ctypes_reducer.register(type_, is_in_arena, reduce_object)
    obj: Any = type_.from_buffer(wrapper.create_memoryview())
    obj._wrapper = wrapper
    return obj


def is_in_arena(obj: Any) -> bool:
    """Whether a ctypes object was made here."""
    return isinstance(getattr(obj, "_wrapper", None), (BufferWrapper, _native.Value, _native.Array))


def reduce_object(obj: Any) -> tuple[Any, tuple[Any, ...]]:
    """How a ctypes object in the arena is pickled: as its place, never as a copy."""
    wrapper = obj._wrapper
    if isinstance(obj, ctypes.Array):
        # The array's own type cannot be pickled: it is made of a type and a length.
        return _array_over, (obj._type_, obj._length_, wrapper)
    return object_over, (type(obj), wrapper)


def _array_over(item: Any, length: int, wrapper: Any) -> Any:
    return object_over(item * length, wrapper)
