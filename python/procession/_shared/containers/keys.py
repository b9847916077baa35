"""Keys that are none of the plain types, as plain ones.

In a shared dict keys are equal when their bytes are, so each key needs one form that all
its equals share, in every process. The core knows that of None, numbers, str, bytes, and tuples and frozensets
of them; here is what else has such a form. Of all other types only their own code knows what
they equal: their keys are compared by it.
"""

import dataclasses
import datetime as dt
import enum
import fractions
import pathlib
import sys
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

Plain = tuple[str | None, Any]
_PLAIN_SCALARS = (bool, int, float, complex, str, bytes)


def canonical(key: Any) -> Plain | None:
    """The kind of a key and its plain form (no kind: the plain form is an equal key); None: it has to be compared."""
    if isinstance(key, enum.Enum) and type(key).__eq__ is object.__eq__:
        return "enum", (*_name(type(key)), key.name)
    plain = _numpy_scalar(key)
    if plain is not key:
        return None, plain
    for base in (str, bytes, tuple, bool, int, float):
        if isinstance(key, base):
            return (None, _plain(key, base)) if _compares_as(key, base) else None
    if isinstance(key, (complex, Decimal, fractions.Fraction)):
        return _number(key)
    make = _FORMS.get(type(key))
    return _dataclass(key) if make is None else make(key)


def _name(kind: type) -> tuple[str, str]:
    """A class's name, the same in a child that has the main module by another."""
    module = kind.__module__
    return "__main__" if module == "__mp_main__" else module, kind.__qualname__


def _dataclass(key: Any) -> Plain | None:
    """By its class and its fields, if its equality is the one that `dataclass` has written."""
    kind = type(key)
    written = kind.__dict__.get("__eq__")
    code = getattr(written, "__code__", None)
    if not dataclasses.is_dataclass(kind) or code is None or code.co_filename != "<string>":
        return None
    fields = tuple(getattr(key, field.name) for field in dataclasses.fields(kind) if field.compare)
    try:
        hash(fields)
    except TypeError:
        return None
    return "dataclass", (*_name(kind), fields)


def _numpy_scalar(key: Any) -> Any:
    """The Python object that a scalar of numpy's equals, by `==` and by hash; else the same."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(key, numpy.generic):
        return key
    plain = key.item()
    is_equal = type(plain) in _PLAIN_SCALARS and hash(plain) == hash(key) and bool(plain == key)
    return plain if is_equal else key


def _compares_as(key: Any, base: type) -> bool:
    return type(key).__eq__ is base.__eq__ and type(key).__hash__ is base.__hash__


def _plain(key: Any, base: Any) -> Any:
    if base is bool:
        return int(key)
    if base is tuple:
        return tuple(tuple.__iter__(key))
    return base.__add__(key, base())


def _number(key: complex | Decimal | fractions.Fraction) -> Plain | None:
    if not any(_compares_as(key, base) for base in (complex, Decimal, fractions.Fraction)):
        return None
    if isinstance(key, complex):
        return (None, key.real) if key.imag == 0 else ("complex", (key.real, key.imag))
    if isinstance(key, Decimal) and not key.is_finite():
        return (None, float(key)) if key.is_infinite() else ("decimal", str(key))
    exact = fractions.Fraction(key)
    if exact.denominator == 1:
        return None, exact.numerator
    try:
        near = float(exact)
    except OverflowError:
        near = float("inf")
    return (None, near) if near == exact else ("ratio", (exact.numerator, exact.denominator))


def _moment(key: dt.datetime) -> Plain:
    if key.tzinfo is not None and key.utcoffset() is not None:
        return "moment", key.astimezone(dt.UTC).replace(tzinfo=None).isoformat()
    return "datetime", key.replace(fold=0).isoformat()


def _time_of_day(key: dt.time) -> Plain:
    offset = key.utcoffset()
    if offset is None:
        return "time", key.replace(tzinfo=None, fold=0).isoformat()
    # Of two times that have an offset what counts is the difference: it may be before 0 h or after 24 h.
    midnight = dt.timedelta(
        hours=key.hour, minutes=key.minute, seconds=key.second, microseconds=key.microsecond
    )
    since = midnight - offset
    return "time there", (since.days * 86400 + since.seconds, since.microseconds)


_FORMS: dict[type, Callable[[Any], Plain]] = {
    uuid.UUID: lambda key: ("uuid", key.bytes),
    dt.date: lambda key: ("date", key.isoformat()),
    dt.datetime: _moment,
    dt.time: _time_of_day,
    dt.timedelta: lambda key: ("timedelta", (key.days, key.seconds, key.microseconds)),
    pathlib.PosixPath: lambda key: ("path", str(key)),
    pathlib.PurePosixPath: lambda key: ("path", str(key)),
}
