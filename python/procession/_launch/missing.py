"""What a new process could not find of what it was sent, told by where in the object it belongs.

The pickle is read once more with a stand-in for every class and function, so that
nothing happens; the stand-ins that cannot be found are then looked for in what came out.
"""

import pickle
from collections.abc import Iterator
from io import BytesIO
from typing import Any

_Unpickler: Any = pickle._Unpickler


class _StandIn:
    """In the place of an object: what it was to be made of."""

    state: Any = None

    def __new__(cls, *args: Any) -> Any:
        made = object.__new__(cls)
        made.parts = args
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def append(self, item: Any) -> None:
        self.parts: tuple[Any, ...] = (*self.parts, item)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.parts = (*self.parts, {key: value})


class _Lost(_StandIn):
    """In the place of an object whose class or function is not there."""


class _Reader(_Unpickler):  # type: ignore[misc]
    def __init__(self, data: bytes | memoryview) -> None:
        super().__init__(BytesIO(data))
        self.lost: dict[type[_Lost], tuple[str, str, Exception]] = {}

    def find_class(self, module: str, name: str) -> Any:
        try:
            super().find_class(module, name)
        except (ImportError, AttributeError) as error:
            lost = type(name, (_Lost,), {})
            self.lost[lost] = module, name, error
            return lost
        return type(name, (_StandIn,), {})


def explain(error: Exception, data: bytes | memoryview) -> None:
    """Add to an exception that reading `data` has raised what could not be found, where it belongs, and why."""
    reader = _Reader(data)
    try:
        whole = reader.load()
    except Exception:  # noqa: BLE001  it is something else
        return
    for lost, (module, name, why) in reader.lost.items():
        where = next(_paths(whole, lost, "Process"), "something in the Process")
        error.add_note(
            f"{where} is {module}.{name}, and this process cannot find that: {_remedy(module, why)}"
        )


def _paths(whole: Any, lost: type, path: str) -> Iterator[str]:
    """The ways from `whole` to a stand-in."""
    if whole is lost or isinstance(whole, lost):
        yield path
    elif isinstance(whole, _StandIn):
        state = whole.state if isinstance(whole.state, tuple) else (whole.state,)
        for attributes in state:
            if isinstance(attributes, dict):
                for name, value in attributes.items():
                    yield from _paths(value, lost, f"{path}.{str(name).removeprefix('_')}")
        for part in whole.parts:
            yield from _paths(part, lost, path)
    elif isinstance(whole, dict):
        for key, value in whole.items():
            yield from _paths(value, lost, f"{path}[{key!r}]")
            yield from _paths(key, lost, f"{path} key {key!r}")
    elif isinstance(whole, (list, tuple, set, frozenset)):
        for place, value in enumerate(whole):
            yield from _paths(value, lost, f"{path}[{place}]")


def _remedy(module: str, why: Exception) -> str:
    if module == "__main__":
        return (
            "it imports the main program as a module, which does not define it then. "
            "Define it at the top level of a module"
        )
    if isinstance(why, ImportError):
        return f"{why}. A module that was made at run time, or found by a changed import system, is not there"
    return f"{why}. What a module is given at run time is not there when it is imported anew"
