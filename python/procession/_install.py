"""Putting procession in the standard library's place, and taking it back.

The standard library's modules stay; public names in them are bound to procession's
objects, in modules imported later as soon as they are. So `from multiprocessing import
Lock`, `multiprocessing.get_context("fork")` and `multiprocessing.synchronize.Lock` give
ours from then on. What a program imported earlier stays what it was, and works together
with ours.

Children have it too: a forked child is a copy, and any other gets a token with its
preparation data whose unpickling installs, before the main module is imported. A module
whose classes here were derived from the standard library's before the names were taken
over is imported there with the names as they were: its objects are the same in both.
"""

import multiprocessing
import multiprocessing.spawn
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

from procession import _originals, context

__all__ = ["install", "is_installed", "uninstall"]

_MODULES: Final = (
    "connection",
    "forkserver",
    "heap",
    "managers",
    "pool",
    "queues",
    "resource_sharer",
    "resource_tracker",
    "shared_memory",
    "sharedctypes",
    "spawn",
    "synchronize",
)
"""Whose public names become those of our modules. The others are the same in both, or internal (popen_*)."""

# Whose own code goes on with what it had: its classes call each other by their names.
_VEILED: Final = frozenset({"multiprocessing.managers", "multiprocessing.pool", "multiprocessing.queues"})

_FOUNDED: Final = frozenset({"joblib.externals.loky.backend.queues", "loky.backend.queues"})
"""Modules whose classes replace what is inside the standard library's: a queue's feeder, its pipe and semaphore. They are
imported with the names as they were, and joblib's own backend goes on as under python."""

# Methods of the default context that modules of the standard library bound when they were imported.
_BORROWED: Final = {
    "managers": ("get_context",),
    "pool": ("get_context",),
    "sharedctypes": ("get_context",),
    "spawn": ("get_start_method", "set_start_method"),
}

# Not BaseContext: contexts from before are none of ours, and asked whether they are contexts.
_NAMES_OF_CONTEXT: Final = (
    "DefaultContext",
    "ForkContext",
    "ForkProcess",
    "ForkServerContext",
    "ForkServerProcess",
    "Process",
    "SpawnContext",
    "SpawnProcess",
    "_concrete_contexts",
    "_default_context",
)


class _Installer:
    """Installs where it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[frozenset[str]], None], tuple[frozenset[str]]]:
        return _install_in_child, (_watch.from_before,)


def _install_in_child(from_before: frozenset[str]) -> None:
    install()
    _watch.from_before |= from_before


def _preparation_data(name: str) -> dict[str, Any]:
    standard: Callable[[str], dict[str, Any]] = _originals.find(
        "multiprocessing.spawn", "get_preparation_data"
    )
    return {"procession": _Installer(), **standard(name)}


def _rename_all() -> None:
    """The names of the package and its contexts, and of every module that has been imported."""
    for name in multiprocessing.__all__:
        _originals.replace(multiprocessing, name, getattr(context._default_context, name))
    for name in _NAMES_OF_CONTEXT:
        _originals.replace(multiprocessing.context, name, getattr(context, name))
    _originals.replace(multiprocessing.spawn, "get_preparation_data", _preparation_data)
    for module in _MODULES:
        if f"multiprocessing.{module}" in sys.modules:
            _rename(module)


def _rename(module: str) -> None:
    """The names of one module, and what it borrowed from the package."""
    standard = import_module(f"multiprocessing.{module}")
    for name in _BORROWED.get(module, ()):
        ours = getattr(context._default_context, name)
        _originals.replace(standard, name, ours, _originals.find("multiprocessing", name))
    _take_names(standard, import_module(f"procession.{module}"))


def _take_names(standard: ModuleType, ours: ModuleType) -> None:
    for name in ours.__all__:
        value = getattr(ours, name)
        if getattr(standard, name, value) is not value:
            give = _originals.veil if standard.__name__ in _VEILED else _originals.replace
            give(standard, name, value)


# ---- modules imported later ---------------------------------------------------


class _Watch:
    """Sees modules come: ours and the standard library's of one name, in whichever order.

    A finder by its methods alone: importlib.abc would cost more to import than all the rest.
    """

    def __init__(self) -> None:
        self.from_before: frozenset[str] = frozenset()  # modules that see the names as they were
        self._coming: set[str] = set()
        self._put_off: list[str] | None = None  # what came while the names are as they were
        self._due: list[str] = []  # what came while a module of ours, which may be half there, imported it

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, module = fullname.partition(".")
        is_named = package == "procession" or (package == "multiprocessing" and module in _MODULES)
        if not is_named and fullname not in self.from_before:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        specs = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            if is_named:
                self._follow(module, spec.loader)
            else:
                self._show_as_before(spec.loader)
        return spec

    def _show_as_before(self, loader: Any) -> None:
        execute = loader.exec_module

        def exec_module(loaded: ModuleType) -> None:
            if self._put_off is not None:
                execute(loaded)
                return
            self._put_off = []
            try:
                with _originals.in_place():
                    execute(loaded)
            finally:
                came, self._put_off = self._put_off, None
                for module in came:
                    _rename(module)

        loader.exec_module = exec_module

    def _follow(self, module: str, loader: Any) -> None:
        """Have the names taken when both modules are there, and no module of ours that imported them is half there."""
        execute = loader.exec_module

        def exec_module(loaded: ModuleType) -> None:
            self._coming.add(loaded.__name__)
            try:
                execute(loaded)
            finally:
                self._coming.discard(loaded.__name__)
            standard, ours = f"multiprocessing.{module}", f"procession.{module}"
            if module in _MODULES and standard in sys.modules and not {standard, ours} & self._coming:
                self._due.append(module)
            if not any(name.startswith("procession.") for name in self._coming):
                self._take_due()

        loader.exec_module = exec_module

    def _take_due(self) -> None:
        while self._due:
            module = self._due.pop()
            if self._put_off is None:
                _rename(module)
            else:
                self._put_off.append(module)


_watch: Final = _Watch()


def is_installed() -> bool:
    return _watch in sys.meta_path


def install() -> None:
    """Make the names of `multiprocessing` and its modules procession's, here and in children started later.

    Names that were imported before stay the standard library's. Calling it again
    changes nothing; `uninstall()` undoes it.
    """
    if is_installed():
        return
    _hand_on_start_method(multiprocessing.context._default_context, context._default_context)
    sys.meta_path.insert(0, _watch)
    _rename_all()
    vars(multiprocessing).setdefault("__getattr__", _submodule)
    ours_or_theirs = ("multiprocessing", "procession", "__main__")
    heirs = (name for name in _originals.heirs() if name.partition(".")[0] not in ours_or_theirs)
    _watch.from_before = _FOUNDED | frozenset(heirs)


def uninstall() -> None:
    """Give the standard library its names back. Objects made meanwhile stay procession's."""
    if is_installed():
        sys.meta_path.remove(_watch)
        if vars(multiprocessing).get("__getattr__") is _submodule:
            del multiprocessing.__getattr__
        _originals.restore()
        _hand_on_start_method(context._default_context, multiprocessing.context._default_context)


def _submodule(name: str) -> ModuleType:
    """A module of the package that the standard library's objects would have imported when they were made."""
    if name in _MODULES:
        return import_module(f"multiprocessing.{name}")
    raise AttributeError(f"module 'multiprocessing' has no attribute {name!r}")


def _hand_on_start_method(old: Any, new: Any) -> None:
    """A start method that the program has settled stays settled."""
    if old._actual_context is not None and new._actual_context is None:
        new.set_start_method(old._actual_context._name)
