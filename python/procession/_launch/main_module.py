"""The parent's main module, imported here under another name, as the standard library's children do it.

A script of source is compiled and run here in runpy's way. runpy itself needs pkgutil,
which brings typing and regular expressions: as much again as all that a new interpreter
imports of ours. Compiled files, folders and archives, and modules by their names, are left to it.
"""

from __future__ import annotations

import io
import os
import sys
from _frozen_importlib_external import MAGIC_NUMBER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

    # The module's class, which `types` would have to be imported for.
    from types import ModuleType as Module
    from typing import Any
else:
    Module = type(sys)

NAME: str = "__mp_main__"

_earlier: list[Module] = []  # what is used of an earlier main module must not go with it


def import_main(data: dict[str, Any]) -> None:
    """Make the main module of this preparation importable from here."""
    if "init_main_from_path" in data:
        _import_path(data["init_main_from_path"])
    elif "init_main_from_name" in data:
        _spawn()._fixup_main_from_name(data["init_main_from_name"])


def _import_path(path: str) -> None:
    main = sys.modules["__main__"]
    if getattr(main, "__file__", None) == path:  # a copy of a zygote that has imported it
        return
    code = _compiled(path)
    if code is None:
        _spawn()._fixup_main_from_path(path)
        return
    _earlier.append(main)
    module = Module(NAME)
    module.__dict__.update(_run(code, path))
    sys.modules["__main__"] = sys.modules[NAME] = module


def _compiled(path: str) -> CodeType | None:
    """A script's code; None for what runpy must look at, and for the script that is never run again."""
    if os.path.splitext(os.path.basename(path))[0] == "ipython" or _is_place_of_modules(path):  # noqa: PTH119, PTH122
        return None
    with io.open_code(os.path.abspath(path)) as file:  # noqa: PTH100
        source = file.read()
    return None if source.startswith(MAGIC_NUMBER) else compile(source, path, "exec", dont_inherit=True)


def _is_place_of_modules(path: str) -> bool:
    if sys.path_importer_cache.get(path) is not None:
        return True
    for hook in sys.path_hooks:
        try:
            hook(path)
        except ImportError:
            continue
        return True
    return False


def _run(code: CodeType, path: str) -> dict[str, Any]:
    """The globals of a script after it has run: as runpy, in a module that is there for so long only."""
    module = Module(NAME)
    earlier, argument = sys.modules.get(NAME), sys.argv[0]
    sys.modules[NAME] = module
    sys.argv[0] = path
    try:
        module.__dict__.update(__file__=path, __cached__=None, __package__="")
        exec(code, module.__dict__)  # noqa: S102  it is the program
    finally:
        sys.argv[0] = argument
        if earlier is None:
            del sys.modules[NAME]
        else:
            sys.modules[NAME] = earlier
    return dict(module.__dict__)


def _spawn() -> Any:
    __import__("multiprocessing.spawn")
    return sys.modules["multiprocessing.spawn"]
