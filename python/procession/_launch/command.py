"""The command line of a new interpreter of ours, and what such a command line asks for.

    python FLAGS -c 'import sys; ...; from procession._launch.spawn_main import main; main(7, 512)' --multiprocessing-fork
    program --multiprocessing-fork tracker_fd=5 pipe_handle=7        a frozen program, and what tools ask for
    program --procession-zygote 7 8                                  a frozen program

A frozen program has no interpreter to run code: it calls freeze_support() first thing, which
finds out from the arguments that the program is to be a child. For a child they are the
standard library's own, and so is what runs then; so tools that start every child in their
way, by replacing `multiprocessing.spawn.get_command_line`, meet what they expect.
"""

import os
import sys
from importlib import import_module
from multiprocessing import spawn, util
from typing import Final

import procession

FOLDER: Final = os.path.dirname(os.path.dirname(procession.__file__))  # noqa: PTH120  pathlib takes long to import
ZYGOTE: Final = "--procession-zygote"

Words = list[bytes | str]


def of_child(data: int, head: int, tracker: int | None) -> Words:
    """For a child that reads `data`, of which the first part has `head` bytes."""
    if _is_frozen() or _is_replaced():
        words: Words = list(spawn.get_command_line(tracker_fd=tracker, pipe_handle=data))
        return words
    return _call("procession._launch.spawn_main", data, head)


def of_zygote(line: int, configuration: int) -> Words:
    """For a zygote."""
    if _is_frozen():
        return [sys.executable, ZYGOTE, str(line), str(configuration)]
    return _call("procession._launch.zygote_main", line, configuration)


def support_freezing() -> None:
    """In a frozen program that was started as a child or zygote: be that, and do not return."""
    if not _is_frozen():
        return
    if sys.argv[1:2] == [ZYGOTE]:
        import_module("procession._launch.zygote_main").main(*map(int, sys.argv[2:4]))
        sys.exit()
    spawn.freeze_support()


def _is_frozen() -> bool:
    return bool(getattr(sys, "frozen", False))


def _is_replaced() -> bool:
    return getattr(spawn.get_command_line, "__globals__", None) is not vars(spawn)


def _call(module: str, *arguments: int) -> Words:
    """An interpreter with this one's flags that calls a module's `main` with numbers."""
    executable = spawn.get_executable()
    if executable is None:
        raise RuntimeError("the interpreter's path is not known: give it to set_executable()")
    flags = util._args_from_interpreter_flags()  # type: ignore[attr-defined]
    words = ", ".join(map(str, arguments))
    # Whatever -I, -E and -S keep from it, the child finds this very package; its parent's path comes later.
    code = f"import sys; sys.path.append({FOLDER!r}); from {module} import main; main({words})"
    return [executable, *flags, "-c", code, "--multiprocessing-fork"]
