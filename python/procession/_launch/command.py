"""The command line of a new interpreter that is to run a function of ours."""

import os
from multiprocessing import spawn, util
from typing import Final

import procession

FOLDER: Final = os.path.dirname(os.path.dirname(procession.__file__))  # noqa: PTH120  pathlib takes long to import


def interpreter() -> bytes:
    """The program that children are started with: `set_executable`'s."""
    executable = spawn.get_executable()
    if executable is None:
        raise RuntimeError(
            "sys.executable is not known: call set_executable() with the path of the interpreter"
        )
    return os.fsencode(executable)


def call(module: str, function: str, *arguments: int) -> list[bytes | str]:
    """An interpreter with this one's flags that calls a function of ours with numbers."""
    flags = util._args_from_interpreter_flags()  # type: ignore[attr-defined]
    words = ", ".join(map(str, arguments))
    # Whatever -I, -E and -S keep from it, the child finds this very package; its parent's path comes later.
    code = f"import sys; sys.path.append({FOLDER!r}); from {module} import {function}; {function}({words})"
    return [interpreter(), *flags, "-c", code, "--multiprocessing-fork"]
