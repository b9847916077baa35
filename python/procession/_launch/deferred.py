"""Modules whose code runs when something of theirs is used for the first time.

`import multiprocessing` needs the names of its submodule `reduction`, which takes as long
to import as all the rest: it brings pickle's Python part, sockets and selectors. A new
interpreter that sends no descriptors never needs it.
"""

from __future__ import annotations

import sys
from _thread import RLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from typing import Any

Module = type(sys)


class _Deferred(Module):  # type: ignore[valid-type, misc]
    """A module that is registered and has not run. Other threads wait while it runs."""

    def __getattr__(self, name: str) -> Any:
        _run(self)
        return Module.__getattribute__(self, name)

    def __dir__(self) -> list[str]:
        _run(self)
        return list(Module.__dir__(self))


_lock = RLock()
_waiting: dict[_Deferred, ModuleSpec] = {}


def _run(module: _Deferred) -> None:
    with _lock:
        spec = _waiting.pop(module, None)
        if spec is None:  # it has run, or is running in this thread: what it lacks now it lacks
            return
        try:
            spec.loader.exec_module(module)  # type: ignore[union-attr]
        except BaseException:
            _waiting[module] = spec
            raise
        module.__class__ = Module  # type: ignore[assignment]


def defer(name: str) -> None:
    """Register a submodule that is not imported yet, to be run at its first use; its package is not run either."""
    package, _, _ = name.rpartition(".")
    if name in sys.modules or (parent := _find(package, None)) is None:
        return
    spec = _find(name, parent.submodule_search_locations)
    if spec is None or spec.loader is None:
        return
    module = _Deferred(name)
    module.__dict__.update(
        __spec__=spec,
        __loader__=spec.loader,
        __package__=package,
        __file__=spec.origin,
        __cached__=spec.cached,
    )
    _waiting[module] = spec
    sys.modules[name] = module


def _find(name: str, path: Any) -> ModuleSpec | None:
    for finder in sys.meta_path:
        if spec := finder.find_spec(name, path):
            return spec
    return None
