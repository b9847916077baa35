"""Keys that are none of the plain types, as plain ones.

In a shared dict keys are equal when their bytes are, so each key needs one form that all
its equals share, in every process. The core knows that of None, numbers, str, bytes and
tuples of them; here is what else has such a form. Types whose equality only their own
code knows cannot be keys.
"""

import datetime as dt
import enum
import fractions
import numbers
import pathlib
import sys
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from procession import _native

Plain = tuple[str | None, Any]
_PLAIN_SCALARS = (bool, int, float, complex, str, bytes)


def canonical(key: Any) -> Plain:
    """The kind of a key and its plain form; no kind: the plain form is an equal key."""
    if isinstance(key, enum.Enum) and type(key).__eq__ is object.__eq__:
        return "enum", (type(key).__module__, type(key).__qualname__, key.name)
    for base in (str, bytes, tuple, bool, int, float):
        if isinstance(key, base) and _compares_as(key, base):
            return None, _plain(key, base)
    plain = _numpy_scalar(key)
    if plain is not key:
        return None, plain
    if isinstance(key, numbers.Number):
        return _number(key)
    make = _FORMS.get(type(key))
    if make is None:
        raise TypeError(
            f"{type(key).__name__!r} objects cannot be keys of a shared container: use numbers, str, bytes, None, "
            "tuples or frozensets of these, enums, UUIDs, dates, times or paths"
        )
    return make(key)


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


def _number(key: Any) -> Plain:
    if isinstance(key, complex):
        if key.imag == 0:
            return None, key.real
        return "complex", (key.real, key.imag)
    if isinstance(key, Decimal) and not key.is_finite():
        if key.is_infinite():
            return None, float(key)
        return "decimal", str(key)
    if isinstance(key, (Decimal, fractions.Fraction)):
        exact = fractions.Fraction(key)
        if exact.denominator == 1:
            return None, exact.numerator
        try:
            near = float(exact)
        except OverflowError:
            near = float("inf")
        if near == exact:
            return None, near
        return "ratio", (exact.numerator, exact.denominator)
    raise TypeError(f"{type(key).__name__!r} objects cannot be keys of a shared container")


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


def _time_there(plain: tuple[int, int]) -> dt.time:
    seconds, microseconds = plain
    within = min(max(seconds, 0), 86399)
    zone = dt.timezone(dt.timedelta(seconds=within - seconds))
    return dt.time(within // 3600, within // 60 % 60, within % 60, microseconds, tzinfo=zone)


def _set_of(key: frozenset[Any]) -> Plain:
    # Equal sets may be iterated in any order: their members' plain forms have one.
    members = sorted(key, key=_native.encode_key)
    return "frozenset", tuple(members)


_FORMS: dict[type, Callable[[Any], Plain]] = {
    uuid.UUID: lambda key: ("uuid", key.bytes),
    dt.date: lambda key: ("date", key.isoformat()),
    dt.datetime: _moment,
    dt.time: _time_of_day,
    dt.timedelta: lambda key: ("timedelta", (key.days, key.seconds, key.microseconds)),
    pathlib.PosixPath: lambda key: ("path", str(key)),
    pathlib.PurePosixPath: lambda key: ("path", str(key)),
    frozenset: _set_of,
}


def _ratio(plain: tuple[int, int]) -> Any:
    # Every Decimal is a whole number of some power of ten, and what is that comes back as a Decimal.
    exact = fractions.Fraction(*plain)
    rest = exact.denominator
    for factor in (2, 5):
        while rest % factor == 0:
            rest //= factor
    if rest != 1:
        return exact
    places = 0
    while exact.denominator != 1:
        exact, places = exact * 10, places + 1
    return Decimal((int(exact < 0), tuple(map(int, str(abs(exact.numerator)))), -places))


def _member(plain: tuple[str, str, str]) -> Any:
    module, name, member = plain
    __import__(module)
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part)
    return found[member]


_RESTORE: dict[str, Callable[[Any], Any]] = {
    "enum": _member,
    "complex": lambda plain: complex(*plain),
    "decimal": Decimal,
    "ratio": _ratio,
    "uuid": lambda plain: uuid.UUID(bytes=plain),
    "date": dt.date.fromisoformat,
    "datetime": dt.datetime.fromisoformat,
    "moment": lambda plain: dt.datetime.fromisoformat(plain).replace(tzinfo=dt.UTC),
    "time": dt.time.fromisoformat,
    "time there": _time_there,
    "timedelta": lambda plain: dt.timedelta(*plain),
    "path": pathlib.Path,
    "frozenset": frozenset,
}


def restore(kind: str, plain: Any) -> Any:
    """The key again."""
    return _RESTORE[kind](plain)
