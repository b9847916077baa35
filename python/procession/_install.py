"""Putting procession in the standard library's place, and taking it back.

The standard library's modules stay; public names in them are bound to procession's
objects. So `from multiprocessing import Lock`, `multiprocessing.get_context("fork")`
and `multiprocessing.synchronize.Lock` give ours from then on. What a program imported
earlier stays what it was, and works together with ours.

Children have it too: a forked child is a copy, and a spawned child gets a token with
its preparation data whose unpickling installs, before the main module is imported.
"""

import multiprocessing
import multiprocessing.heap
import multiprocessing.sharedctypes
import multiprocessing.spawn
import multiprocessing.synchronize
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

from procession import context, heap, sharedctypes, synchronize

__all__ = ["install", "is_installed", "uninstall"]

_standard_preparation: Final = multiprocessing.spawn.get_preparation_data


class _Installer:
    """Installs where it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return install, ()


def _preparation_data(name: str) -> dict[str, Any]:
    return {"procession": _Installer(), **_standard_preparation(name)}


# Methods of the default context that other modules of the standard library bound when they were imported.
_BORROWED: Final = {
    "multiprocessing.managers": ("get_context",),
    "multiprocessing.pool": ("get_context",),
    "multiprocessing.sharedctypes": ("get_context",),
    "multiprocessing.spawn": ("get_start_method", "set_start_method"),
}


def _names_of_package() -> dict[str, Any]:
    return {name: getattr(context._default_context, name) for name in multiprocessing.__all__}


def _names_of_context() -> dict[str, Any]:
    names = ["DefaultContext", "Process", "_default_context"]
    names += [
        f"{method}{kind}" for method in ("Fork", "Spawn", "ForkServer") for kind in ("Context", "Process")
    ]
    return {name: getattr(context, name) for name in names} | {
        "_concrete_contexts": context._concrete_contexts
    }


def _names_of_values() -> dict[str, Any]:
    return {name: getattr(sharedctypes, name) for name in sharedctypes.__all__}


def _replacements() -> list[tuple[ModuleType, dict[str, Any]]]:
    """Every module that changes, and the names that change in it."""
    replaced: list[tuple[ModuleType, dict[str, Any]]] = [
        (multiprocessing, _names_of_package()),
        (multiprocessing.context, _names_of_context()),
        (multiprocessing.synchronize, {name: getattr(synchronize, name) for name in synchronize.__all__}),
        (multiprocessing.sharedctypes, _names_of_values()),
        (multiprocessing.heap, {"BufferWrapper": heap.BufferWrapper}),
        (multiprocessing.spawn, {"get_preparation_data": _preparation_data}),
    ]
    for module, names in _BORROWED.items():
        if module in sys.modules:
            replaced.append(
                (sys.modules[module], {name: getattr(context._default_context, name) for name in names})
            )
    return replaced


_originals: list[tuple[ModuleType, str, Any]] = []


def is_installed() -> bool:
    return bool(_originals)


def install() -> None:
    """Make the names of `multiprocessing` and its modules procession's, here and in children started later.

    Names that were imported before stay the standard library's. Calling it again
    changes nothing; `uninstall()` undoes it.
    """
    if is_installed():
        return
    _adopt_start_method(multiprocessing.context._default_context, context._default_context)
    for module, names in _replacements():
        for name, value in names.items():
            _originals.append((module, name, getattr(module, name)))
            setattr(module, name, value)


def uninstall() -> None:
    """Give the standard library its names back. Objects made meanwhile stay procession's."""
    while _originals:
        module, name, value = _originals.pop()
        setattr(module, name, value)
    for module_name, names in _BORROWED.items():  # also what was imported, and borrowed from us, meanwhile
        if module_name in sys.modules:
            for name in names:
                setattr(sys.modules[module_name], name, getattr(multiprocessing, name))


def _adopt_start_method(chosen: Any, ours: context.DefaultContext) -> None:
    """A start method that the program has settled already stays settled."""
    if chosen._actual_context is not None and ours._actual_context is None:
        ours.set_start_method(chosen._actual_context._name)
