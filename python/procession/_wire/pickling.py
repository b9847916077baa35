"""Pickling what a process is started with: as multiprocessing does, and what that refuses by value.

Functions and classes travel by name where the child can find them. It cannot find a
lambda, a function made inside another, what stands under `if __name__ == "__main__":`,
nor what was defined in a notebook or at a prompt: those travel as what they are made
of, by cloudpickle, which is imported only then. Everything else in the same object
travels as it would have: objects of the main program's classes stay objects of those.

What cannot travel at all raises what pickle raised, with a note that says where in the
object it lies and what to do (`refusals.py`).
"""

import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from io import BytesIO, TextIOWrapper
from multiprocessing import context
from types import FunctionType
from typing import Any

from procession._wire import main_module, reducers, refusals
from procession._wire.main_module import Forked


def dumps(obj: object, name: str, *, finds_main: bool | Forked, again: Callable[[], None]) -> bytes:
    """The pickle of `obj`, for a new process. Raises what pickle raises, with a note that begins with `name`.

    `finds_main`: whether that process will have our main module, or what it has of it. `again` is called before
    a second attempt: what the first one has prepared is not needed.
    """
    try:
        pickled = _by_name(obj)
    except Exception as refusal:  # noqa: BLE001  reducers are anybody's code
        again()
        return by_value(obj, name, finds_main=finds_main, refusal=refusal)
    if not main_module.may_be_unknown(pickled, finds_main):
        return pickled
    again()
    return by_value(obj, name, finds_main=finds_main)


def _by_name(obj: object) -> bytes:
    into = BytesIO()
    context.reduction.dump(obj, into)  # type: ignore[attr-defined]  # what a program has put there, or else the standard library's
    return into.getvalue()


def by_value(
    obj: object,
    name: str,
    *,
    finds_main: bool | Forked,
    refusal: Exception | None = None,
    whereto: str = "a new process",
    parts: Callable[[], Iterable[tuple[str, object]]] | None = None,
) -> bytes:
    """The pickle of `obj` by cloudpickle, which takes apart what pickle has met with `refusal`.

    `parts`: what users know of it, and by which names, where `obj` as a whole is ours.
    """
    into = BytesIO()
    try:
        pickler = _value_pickler(into, finds_main)
    except ImportError as missing:
        if refusal is None:
            raise
        refusal.add_note(
            f"functions like this one travel by cloudpickle, which cannot be imported: {missing}"
        )
        raise refusal from None
    try:
        pickler.dump(obj)
    except Exception as second:
        known = [(name, obj)] if parts is None else parts()
        refusals.explain(second, known, pickler.reducer_override, pickler.dispatch_table, whereto)
        raise second from None
    return into.getvalue()


def _value_pickler(into: BytesIO, finds_main: bool | Forked) -> Any:
    cloudpickle: Any = import_module("cloudpickle")

    theirs = dict(cloudpickle.Pickler.dispatch_table)
    del theirs[TextIOWrapper]  # it sends what an open file has to read, and no file
    table = reducers.table(theirs)

    class ValuePickler(cloudpickle.Pickler):  # type: ignore[misc]
        """Takes functions and classes apart that the child cannot find by name."""

        dispatch_table = table

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, (FunctionType, type)) and can_be_found(obj, finds_main=finds_main):
                return NotImplemented
            return super().reducer_override(obj)

    return ValuePickler(into)


def can_be_found(obj: Any, *, finds_main: bool | Forked) -> bool:
    """Whether a new process finds this function or class by its name."""
    if obj.__module__ == "__main__" and not main_module.is_found(obj, finds_main):
        return False
    found: Any = sys.modules.get(obj.__module__)
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is obj
