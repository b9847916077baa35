"""numpy's array over shared memory: pickled as what it lies in."""

from typing import Any, TypeVar

import numpy as np

from procession import _native
from procession._shared import handles

Shape = TypeVar("Shape", bound=tuple[int, ...])
DType = TypeVar("DType", bound=np.dtype[Any])


class SharedArray(np.ndarray[Shape, DType]):
    """A numpy array that all who have it share. Made by `procession.shared.array`."""

    __module__ = "procession.shared"

    _memory: _native.Memory | None

    def __array_finalize__(self, obj: Any) -> None:
        # A view lies in the same Buffer; anything else that numpy makes of a shared array is a plain one.
        memory = getattr(obj, "_memory", None)
        self._memory = memory if memory is not None and np.may_share_memory(self, obj) else None

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        wrapped = super().__array_wrap__(array, context)
        if self is wrapped or type(self) is not SharedArray:
            return wrapped
        return wrapped[()] if return_scalar else wrapped.view(np.ndarray)

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        if type(found) is SharedArray and found._memory is None:
            return found.view(np.ndarray)  # picked by a list or a mask: a copy
        return found

    def copy(self, order: Any = "C") -> Any:
        """A plain array with the same content, of this process alone."""
        return np.array(self, order=order, copy=True, subok=False)

    def __copy__(self) -> Any:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Any:
        return self.copy()

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self._memory is None:
            return self.view(np.ndarray).__reduce_ex__(protocol)
        start = _address(self) - _address(np.frombuffer(memoryview(self._memory), np.uint8))
        how = (self.shape, self.dtype, start, self.strides, self.flags.writeable)
        if memoryview(self._memory).readonly:
            return _open_frozen, (*handles.reduce(self._memory), *how[:-1])
        return _open, (*handles.reduce(self._memory), *how)


def _address(array: Any) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _open(
    opener: Any,
    arguments: tuple[Any, ...],
    shape: Any,
    dtype: Any,
    start: int,
    strides: Any,
    is_writeable: bool,
) -> Any:
    made = over(opener(*arguments), shape, dtype, start=start, strides=strides)
    made.flags.writeable = is_writeable
    return made


def _open_frozen(
    opener: Any, arguments: tuple[Any, ...], shape: Any, dtype: Any, start: int, strides: Any
) -> Any:
    return over(opener(*arguments)._read_only(), shape, dtype, start=start, strides=strides)


def frozen(memory: _native.Memory, shape: tuple[int, ...], descr: Any, *, start: int, order: Any) -> Any:
    """The array that lies in a read-only Buffer from byte `start` on."""
    return over(memory, shape, np.lib.format.descr_to_dtype(descr), start=start, order=order)


def over(
    memory: _native.Memory,
    shape: tuple[int, ...],
    dtype: Any,
    *,
    start: int = 0,
    strides: Any = None,
    order: Any = "C",
) -> SharedArray[Any, Any]:
    """The array that lies in a Buffer from byte `start` on."""
    made: SharedArray[Any, Any] = SharedArray.__new__(
        SharedArray, shape, dtype, memoryview(memory), offset=start, strides=strides, order=order
    )
    made._memory = memory
    return made
