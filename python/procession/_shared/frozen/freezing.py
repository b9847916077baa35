"""freeze(): a graph of plain objects becomes one that any number of processes read where it lies."""

import sys
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from importlib import import_module
from typing import Any, TypeVar, overload

from procession._shared.frozen import faces
from procession._shared.frozen.layout import AlienArray, Builder

K = TypeVar("K")
V = TypeVar("V")
Plain = TypeVar("Plain", None, int, float, complex, str, bytes)
Face = TypeVar("Face", bound=faces.Frozen)


@overload
def freeze(obj: Plain) -> Plain: ...
@overload
def freeze(obj: Face) -> Face: ...
@overload
def freeze(obj: list[V]) -> faces.FrozenList[V]: ...
@overload
def freeze(obj: tuple[V, ...]) -> faces.FrozenTuple[V]: ...
@overload
def freeze(obj: Mapping[K, V]) -> faces.FrozenDict[K, V]: ...
@overload
def freeze(obj: AbstractSet[K]) -> faces.FrozenSet[K]: ...
@overload
def freeze(obj: Any) -> Any: ...
def freeze(obj: Any) -> Any:
    """Lay `obj` out in shared memory, for any number of processes to read without a copy.

    `obj` is made of dicts, lists, tuples, sets, frozensets, str, bytes, numbers, None, bytearrays and memoryviews, and numpy
    arrays. What comes back has the protocols of what it was (`f["key"][3]`, `in`, iteration, comparison) and
    decodes what is asked for: a str or a number is made anew each time, a buffer or an array is a
    read-only view of the shared memory. Nothing of it can be changed: TypeError. `thaw()` gives Python's own objects back.

    It travels everywhere as a handle, and so does each part of it; the last one who has any part frees it all, also
    when that one is killed. Keys are compared as those of `shared.dict` are. TypeError names the place in `obj` of what
    cannot be frozen, ValueError the place of what contains itself. Numbers, str, bytes and None are themselves.
    """
    obj = _plain_scalar(obj)
    if isinstance(obj, (faces.Frozen, int, float, complex, str, bytes)) or obj is None:
        return obj
    return faces.over(Builder(_plain_form).finish(obj))


def _plain_scalar(obj: Any) -> Any:
    numpy = sys.modules.get("numpy")
    return obj if numpy is None or not isinstance(obj, numpy.generic) else obj.item()


def _plain_form(obj: Any) -> Any:
    if isinstance(obj, faces.Frozen):
        return obj.thaw()
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return obj
    if (
        isinstance(obj, numpy.ndarray)
        and not obj.dtype.hasobject
        and not isinstance(obj, numpy.ma.MaskedArray)
    ):
        is_fortran = obj.flags.f_contiguous and not obj.flags.c_contiguous
        content = numpy.asarray(obj).ravel(order="F" if is_fortran else "C").view(numpy.uint8)
        descr = import_module("numpy.lib.format").dtype_to_descr(obj.dtype)
        return AlienArray(memoryview(content), repr(descr), obj.shape, is_fortran=is_fortran)
    return _plain_scalar(obj)
