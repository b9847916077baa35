"""numpy's arrays, sent as the standard library sends them: whoever receives one may write into it.

Out of band, pickle keeps what is read-only read-only: a slice of a mapped file, a frame's
column, `np.frombuffer(bytes)`. The standard library's protocol copies such arrays, so
programs change in place what they receive. What lies in the arena is shared with its
receiver, and stays what it is.
"""

import sys
from collections.abc import Callable
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any

from procession import _native

if TYPE_CHECKING:
    import numpy as np


class _Writable:
    """The bytes of a contiguous array, said to be writable; nobody writes into them."""

    def __init__(self, array: "np.ndarray[Any, Any]") -> None:
        self.array = array
        self.__array_interface__ = {
            "version": 3,
            "typestr": "|u1",
            "shape": (array.nbytes,),
            "data": (array.__array_interface__["data"][0], False),
        }


def reduce_array(array: "np.ndarray[Any, Any]") -> Any:
    """As numpy does with pickle's protocol 5, but for what is read-only by itself."""
    flags = array.flags
    if flags.writeable or array.dtype.hasobject or not (flags.c_contiguous or flags.f_contiguous):
        return array.__reduce_ex__(5)
    try:
        plain = PickleBuffer(array).raw()  # type: ignore[arg-type]
    except (BufferError, ValueError):  # of dates, for one: numpy copies them
        return array.__reduce_ex__(5)
    if not plain.nbytes:
        return array.copy("K").__reduce_ex__(5)
    if _native.Memory._lending(plain) is not None:
        return array.__reduce_ex__(5)
    content = sys.modules["numpy"].asarray(_Writable(array))
    order = "C" if flags.c_contiguous else "F"
    return content.view(array.dtype).reshape(array.shape, order=order).__reduce_ex__(5)


def lender(exporter: Any) -> Any:
    """Whose bytes a buffer has: the array that was sent, where it is one that stands for it."""
    whole = getattr(exporter, "base", None)
    stand_in = getattr(whole, "base", None)
    return stand_in.array if type(stand_in) is _Writable else exporter


def reducers() -> dict[type, Callable[[Any], Any]]:
    """The reducer, once there are arrays."""
    numpy = sys.modules.get("numpy")
    kind = getattr(numpy, "ndarray", None)  # absent while numpy is imported
    return {} if kind is None else {kind: reduce_array}
