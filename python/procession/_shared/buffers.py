"""Arrays that lie in the arena: born there to be sent without a copy, or shared by all who have them.

    empty(shape)          numpy's own array; a queue or a pool hands over what it lies in
    shared.array(shape)   wherever it goes, everybody reads and writes the same

Both lie in a Buffer, which lives as long as any process has an array in it, or a message on its way refers to it.
numpy is imported at the first call.
"""

import operator
from collections.abc import Sequence
from importlib import import_module
from math import prod
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from procession import _native

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike, NDArray

    from procession._shared.ndarrays import SharedArray

    Scalar = TypeVar("Scalar", bound=np.generic)

Order = Literal["C", "F"]


def _buffer_for(
    shape: int | Sequence[int], dtype: Any, *, zeroed: bool
) -> tuple[tuple[int, ...], Any, _native.Memory]:
    numpy = import_module("numpy")
    lengths = tuple(map(operator.index, shape)) if isinstance(shape, Sequence) else (operator.index(shape),)
    if any(length < 0 for length in lengths):
        raise ValueError(f"negative dimensions are not allowed: {shape!r}")
    kind = numpy.dtype(dtype)
    if kind.hasobject:
        raise TypeError(
            f"an array of {kind} refers to Python objects, which lie in one process: it cannot be shared"
        )
    return lengths, kind, _native.Memory._buffer(max(1, prod(lengths) * kind.itemsize), zeroed=zeroed)


@overload
def empty(
    shape: int | Sequence[int], dtype: "type[Scalar] | np.dtype[Scalar]", order: Order = "C"
) -> "NDArray[Scalar]": ...
@overload
def empty(shape: int | Sequence[int], dtype: "DTypeLike" = float, order: Order = "C") -> "NDArray[Any]": ...
def empty(shape: int | Sequence[int], dtype: Any = float, order: Order = "C") -> Any:
    """A numpy array as `numpy.empty` makes it, born in shared memory.

    A queue's put and a pool's task or result send it, and any part of it that lies in one piece, without
    a copy, whatever its size: the receiver's array is the very same memory. Sender and receiver
    then see each other's writes, so fill it, send it and let go of it; to fill it again
    before the receiver is done changes what the receiver has. A child made by fork shares it as well. Everywhere
    else (a pickle, a connection, the arguments of a spawned process, a queue that delivers again) it travels by value, as
    any array does.

    The memory is freed with the last array in any process, or with the process, however that ends.
    MemoryError when there is none left; TypeError for a dtype with Python objects.
    """
    lengths, kind, memory = _buffer_for(shape, dtype, zeroed=False)
    return import_module("numpy").ndarray(lengths, kind, memory, order=order)


@overload
def array(
    shape: int | Sequence[int], dtype: "type[Scalar] | np.dtype[Scalar]", order: Order = "C"
) -> "SharedArray[Any, np.dtype[Scalar]]": ...
@overload
def array(
    shape: int | Sequence[int], dtype: "DTypeLike" = float, order: Order = "C"
) -> "SharedArray[Any, np.dtype[Any]]": ...
def array(shape: int | Sequence[int], dtype: Any = float, order: Order = "C") -> Any:
    """A numpy array of zeros that all processes share.

    Wherever it goes (an argument of a process, an item of a queue, a task of a pool, a value of
    a shared container, a pickle within the family) it stays the same memory, and so does each view of it: what one
    process writes the others read. Nothing locks it: use a `Lock` where processes write the same
    elements. What is computed from it (`a + 1`, `a.sum()`, `a.copy()`) is numpy's own.

    A process that is killed in the middle of a write has written some elements and not others. The memory
    is freed with the last array in any process, or with the process, however that ends. A pickle of its
    own, outside a queue, a pool or a container, keeps it for the family's life. MemoryError when there is none left;
    TypeError for a dtype with Python objects.
    """
    lengths, kind, memory = _buffer_for(shape, dtype, zeroed=True)
    return import_module("procession._shared.ndarrays").over(memory, lengths, kind, order=order)
