"""What tasks and their parts are called in errors: as in the call that gave them."""

import reprlib
from collections.abc import Iterator, Sequence
from typing import Any

from procession._work.segments import Segment
from procession._work.worker import CALLS, STARRED

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80


def describe(job: Any, item: Any) -> str:
    """A task as a call, shortened."""
    try:
        function, args, kwds = _call(job.kind, job.function, item)
        parts = [_short.repr(arg) for arg in args]
        parts += [f"{name}={_short.repr(value)}" for name, value in kwds.items()]
        name = getattr(function, "__qualname__", None) or _short.repr(function)
        return f"{name}({', '.join(parts)})"
    except Exception as error:  # noqa: BLE001  a __repr__ is anybody's code
        return f"<no repr: {type(error).__name__}>"


def first_of(segment: Segment) -> str:
    """A segment's first task: its place in its job, and the call."""
    return f"task {segment.first}, {describe(segment.job, segment.items[segment.low])}"


def parts(kind: int, items: Sequence[Any]) -> Iterator[tuple[str, object]]:
    """The parts of tasks of that kind, and what their giver calls them."""
    for item in items:
        function, args, kwds = _call(kind, None, item)
        if function is not None:
            yield "the function", function
        if kind in {CALLS, STARRED}:
            yield from ((f"args[{place}]", value) for place, value in enumerate(args))
            yield from ((f"kwds[{name!r}]", value) for name, value in kwds.items())
        else:
            yield "item", item


def _call(kind: int, function: Any, item: Any) -> tuple[Any, Sequence[Any], Any]:
    if kind == CALLS:
        return item  # type: ignore[no-any-return]
    return function, item if kind == STARRED else (item,), {}
