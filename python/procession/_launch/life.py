"""The life of a child that was forked, from its first line of Python to `_exit`."""

import atexit
import os
import sys
from collections.abc import Callable
from multiprocessing import popen_fork, process, util
from typing import Final, NoReturn

from procession import _native
from procession._launch import stdin
from procession._wire import farewell

# Since 3.12.2 a child runs the exit functions that it registered itself.
CHILD_RUNS_ATEXIT: Final = hasattr(popen_fork, "atexit")


_has_stdin: list[bool] = []
"""In a child: whether its parent had a standard input, until `set_up` asks."""


def set_up() -> None:
    """What the standard library does in a child before its user's code, less what nobody needs."""
    if _has_stdin and _has_stdin.pop():
        sys.stdin = stdin.empty()
    if util._finalizer_registry:  # type: ignore[attr-defined]
        util._finalizer_registry.clear()  # type: ignore[attr-defined]
    if not farewell.is_alone():
        util._run_after_forkers()  # type: ignore[attr-defined]


def live(
    process_obj: process.BaseProcess, parent_sentinel: int, tell: Callable[[int], None] | None = None
) -> NoReturn:
    """The whole life of the child, in one function: a child pays a copied page for each it enters.

    `tell` is called with the exit code when all is done.
    """
    code = 1
    farewell.leave_it_to_launcher()
    _has_stdin.append(sys.stdin is not None)
    sys.stdin = None  # _bootstrap leaves that alone, and `set_up` replaces it
    try:
        if CHILD_RUNS_ATEXIT:
            atexit._clear()
            atexit.register(util._exit_function)  # type: ignore[attr-defined]
        # As the kernel cuts it: `_exit` refuses what is no C int.
        code = process_obj._bootstrap(parent_sentinel=parent_sentinel) & 0xFF  # type: ignore[attr-defined]
    finally:
        try:
            if CHILD_RUNS_ATEXIT:
                atexit._run_exitfuncs()
            if held := _native.detach_held():
                farewell.tell(held)
            _native.leave()
            if tell is not None:
                tell(code)
        finally:
            os._exit(code)
