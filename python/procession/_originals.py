"""The standard library's own objects while their names are procession's: kept, pickled, put back.

An object that was made before its class's name was taken over still is an object of
that class, and pickle writes classes by name: it would find ours under that name, and
refuse. So such objects are reduced as their class says, with a reference in the place of
everything whose name is taken, which `find` turns into the standard library's own again,
in whatever process.
"""

import copyreg
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, Final

__all__ = ["find", "replace", "restore", "veil"]

_kept: Final[dict[tuple[str, str], Any]] = {}
"""What a name of a module was."""
_names: Final[dict[int, tuple[str, str]]] = {}
"""And under which name an object was kept, by its id: they live as long as they are kept."""


def replace(module: ModuleType, name: str, value: Any, original: Any = None) -> None:
    """Give a name of the standard library's to `value`. What it was (or `original`) is kept."""
    place = (module.__name__, name)
    if place in _kept:
        return
    kept = getattr(module, name) if original is None else original
    _kept[place] = kept
    setattr(module, name, value)
    _names.setdefault(id(kept), place)
    if isinstance(kept, type) and kept is not value:
        copyreg.pickle(kept, _reduce)


def veil(module: ModuleType, name: str, value: Any) -> None:
    """The same for everybody but the module's own code, which goes on with what the name was.

    Methods of the standard library's queues name their class: objects from before need them.
    """
    if type(module) is ModuleType:
        module.__class__ = type("module", (ModuleType,), {})
    original = getattr(module, name)
    setattr(type(module), name, _Veil(original))
    replace(module, name, value)


class _Veil:
    """A name of a module as it is seen from outside."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __get__(self, module: ModuleType, kind: type | None = None) -> Any:
        return self.value

    def __set__(self, module: ModuleType, value: Any) -> None:
        self.value = value


def restore() -> None:
    """Give all names back."""
    for (module, name), kept in _kept.items():
        setattr(sys.modules[module], name, kept)
        if isinstance(kept, type):
            copyreg.dispatch_table.pop(kept, None)
    _kept.clear()
    _names.clear()


def find(module: str, name: str) -> Any:
    """The standard library's object of that name, whoever has the name now."""
    imported = import_module(module)
    return _kept[module, name] if (module, name) in _kept else getattr(imported, name)


class _Reference:
    """Pickled in the place of an object whose name is taken."""

    def __init__(self, place: tuple[str, str]) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[[str, str], Any], tuple[str, str]]:
        return find, self.place


def _or_reference(obj: Any) -> Any:
    place = _names.get(id(obj))
    return obj if place is None else _Reference(place)


def _build(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return function(*arguments)


def _reduce(obj: Any) -> tuple[Any, ...]:
    """What the object's class says, with references."""
    function, arguments, *rest = obj.__reduce_ex__(2)
    return _build, (_or_reference(function), tuple(map(_or_reference, arguments))), *rest
