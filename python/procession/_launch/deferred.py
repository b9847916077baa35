"""Modules whose code runs when something of theirs is used for the first time.

`import multiprocessing` brings its submodule `reduction`, which needs pickle's Python part,
sockets and selectors, and `subprocess`, which needs regular expressions and locales, for
one function. Together they take a new interpreter as long as all the rest of what it
imports to become a process of ours; one that sends no descriptors and starts no programs
never uses them. Likewise it brings `signal`, which makes enumerations, for the names in a
process's `repr`: those are lent to it (`Lent`).
"""

from __future__ import annotations

import sys
from _thread import RLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from typing import Any

Module = type(sys)
_OURS = frozenset({"multiprocessing", "procession"})
_namespace = vars(Module)["__dict__"].__get__  # of a module, whatever its class makes of the attribute


class _Deferred(Module):  # type: ignore[valid-type, misc]
    """A module that is registered and has not run. Other threads wait while it runs."""

    def __getattr__(self, name: str) -> Any:
        if name != "__path__":  # asked for by each import, and none is a package
            _run(self)
        return Module.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:  # running it later would undo what was set
        _run(self)
        Module.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        _run(self)
        Module.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        _run(self)
        return list(Module.__dir__(self))

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        if self in _lent:
            return _lent[self]
        _run(self)
        names: dict[str, Any] = _namespace(self)
        return names


_lock = RLock()
_waiting: dict[_Deferred, ModuleSpec] = {}
_running: set[_Deferred] = set()
"""In the thread that has the lock."""
_lent: dict[_Deferred, dict[str, Any]] = {}


class Lent:
    """While it is entered, a deferred module's `__dict__` is this and does not make it run."""

    def __init__(self, name: str, names: dict[str, Any]) -> None:
        self._module, self._names = sys.modules[name], names

    def __enter__(self) -> None:
        if isinstance(self._module, _Deferred):
            _lent[self._module] = self._names

    def __exit__(self, *_: object) -> None:
        _lent.pop(self._module, None)  # type: ignore[call-overload]


def _run(module: _Deferred) -> None:
    with _lock:
        spec = _waiting.get(module)
        if spec is None or module in _running:  # what it lacks now it lacks
            return
        try:
            _running.add(module)
            spec.loader.exec_module(module)  # type: ignore[union-attr]
            Module.__setattr__(module, "__class__", Module)
            del _waiting[module]
        finally:  # a signal's handler may raise between any two steps: then it waits as before
            _running.discard(module)


def defer(name: str, *functions: str) -> None:
    """Register a module that is not imported yet, to be run at its first use; its package is not run either.

    The functions are those that importing modules take out of it by name: they get a
    function that runs the module when it is called.
    """
    package, _, _ = name.rpartition(".")
    path = None
    if package:
        parent = _find(package, None)
        path = parent.submodule_search_locations if parent else None
    spec = None if name in sys.modules else _find(name, path)
    if spec is None or spec.loader is None:
        return
    module = _Deferred(name)
    names = _namespace(module)
    names.update(
        __spec__=spec,
        __loader__=spec.loader,
        __package__=package,
        __file__=spec.origin,
        __cached__=spec.cached,
    )
    names.update((function, _later(module, function)) for function in functions)
    _waiting[module] = spec
    sys.modules[name] = module


def attach() -> None:
    """Make what still waits an attribute of its package, as its import would have done. The packages must be there."""
    for module in _waiting:
        package, _, name = module.__name__.rpartition(".")
        if package:
            setattr(sys.modules[package], name, module)


def finish() -> None:
    """Run what the program's modules have: what they use at their very end can no longer be imported then."""
    if not _waiting:
        return
    held: set[Any] = set()
    for name, module in list(sys.modules.items()):
        if type(module) is Module and name.partition(".")[0] not in _OURS:
            held.update(value for value in list(_namespace(module).values()) if type(value) is _Deferred)
    for module in held:
        _run(module)


def _later(module: _Deferred, name: str) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        _run(module)
        return _namespace(module)[name](*args, **kwargs)

    return call


def _find(name: str, path: Any) -> ModuleSpec | None:
    for finder in sys.meta_path:
        if spec := finder.find_spec(name, path):
            return spec
    return None
