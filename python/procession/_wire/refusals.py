"""Why something cannot be pickled: where in the object it lies, and what to do about it.

After a refusal the object is pickled once more by Python's own pickler, which is slow
and can be watched: the objects that it was in the middle of, from the whole to the
part, are the path.
"""

import pickle
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from itertools import pairwise
from types import FunctionType, GeneratorType, ModuleType
from typing import Any, Final

DEEPEST: Final = 12  # steps of a path that are told

_REMEDIES: Final = (
    (("_thread.lock", "_thread.RLock"), "procession.Lock() and RLock() travel, those of `threading` do not"),
    (("socket.socket", "ssl.SSLSocket"), "open it in the child, or send it over a Pipe"),
    (
        ("_io.TextIOWrapper", "_io.BufferedReader", "_io.BufferedWriter", "_io.FileIO"),
        "open the file in the child",
    ),
    (
        ("builtins.generator", "builtins.async_generator", "builtins.coroutine"),
        "pass what it is made from, or a list",
    ),
    (("builtins.module",), "import it in the child"),
    (
        ("threading.Thread", "_contextvars.Context", "asyncio.events.AbstractEventLoop"),
        "make it in the child",
    ),
)
_GLOBALS: Final = re.compile(r"\['__globals__'\]\[('\w+')\]")  # as a function's are pickled
_GENERAL: Final = "make it in the child, or give its class a `__getstate__` that leaves it out"


_Pickler: Any = pickle._Pickler


class _Watched(_Pickler):  # type: ignore[misc]
    """A pickler that knows what it is in the middle of."""

    def __init__(self, reducer_override: Callable[[Any], Any], dispatch_table: Mapping[Any, Any]) -> None:
        super().__init__(BytesIO(), pickle.DEFAULT_PROTOCOL)
        self.reducer_override, self.dispatch_table = reducer_override, dispatch_table
        self.inside: list[Any] = []

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        self.inside.append(obj)
        super().save(obj, save_persistent_id)
        self.inside.pop()


def explain(
    refusal: Exception,
    parts: Iterable[tuple[str, object]],
    reducer_override: Callable[[Any], Any],
    dispatch_table: Mapping[Any, Any],
    whereto: str = "a new process",
) -> None:
    """Add a note to the exception that pickling has raised; the parts are what was pickled, by the names that users know."""
    for name, obj in parts:
        pickler = _Watched(reducer_override, dispatch_table)
        try:
            pickler.dump(obj)
        except Exception:  # noqa: BLE001  the same again
            culprit = pickler.inside[-1]
            where = name + path(pickler.inside)
            refusal.add_note(
                f"{where} cannot be sent to {whereto}, being {_described(culprit)}: {_remedy(culprit)}"
            )
            return


def path(inside: list[Any]) -> str:
    """How the last of these objects is reached from the first, each lying in the one before: `.args[1]["conn"]`."""
    steps: list[str] = []
    for outer, inner in pairwise(inside):
        steps += _step(outer, inner, is_state=_is_state(inside, outer))
    shown = steps if len(steps) <= DEEPEST else [*steps[: DEEPEST // 2], " ... ", *steps[-DEEPEST // 2 :]]
    return _GLOBALS.sub(r"'s global \1", "".join(shown))


def _is_state(inside: list[Any], outer: Any) -> bool:
    """Whether a dict is what an object's attributes are pickled as."""
    at = next(place for place, one in enumerate(inside) if one is outer)
    return at > 0 and not isinstance(inside[at - 1], (dict, list, tuple, set, frozenset, deque))


def _step(outer: Any, inner: Any, *, is_state: bool) -> list[str]:
    """What to write for the way from one object to the next; nothing for what only pickle sees."""
    if isinstance(outer, dict):
        for key, value in outer.items():
            if value is inner:
                return [f".{_attribute(key)}" if is_state else f"[{key!r}]"]
        return [f" key {inner!r}"]
    if isinstance(outer, (list, deque)) or (isinstance(outer, tuple) and not is_state):
        return [f"[{place}]" for place, value in enumerate(outer) if value is inner][:1]
    if isinstance(outer, (set, frozenset)):
        return [f" member {inner!r}"]
    if isinstance(outer, FunctionType):
        return _variable(outer, inner)
    return [f".{key}" for key, value in getattr(outer, "__dict__", {}).items() if value is inner][:1]


def _attribute(key: object) -> str:
    """The name that users know the attribute by: a process keeps `args` as `_args`."""
    return str(key).removeprefix("_") if key in ("_args", "_kwargs", "_target") else str(key)


def _variable(function: FunctionType, inner: Any) -> list[str]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if cell.cell_contents is inner:
            return [f"'s variable {name!r}"]
    return [f"'s global {name!r}" for name, value in function.__globals__.items() if value is inner][:1]


def _described(culprit: Any) -> str:
    kind = type(culprit)
    return f"a {kind.__module__}.{kind.__qualname__}".replace("builtins.", "")


def _remedy(culprit: Any) -> str:
    if isinstance(culprit, ModuleType):
        kinds = {"builtins.module"}
    elif isinstance(culprit, GeneratorType):
        kinds = {"builtins.generator"}
    else:
        kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(culprit).__mro__}
    return next((remedy for names, remedy in _REMEDIES if kinds & set(names)), _GENERAL)
