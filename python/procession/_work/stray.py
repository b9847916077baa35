"""Strays: children that a task's code forked by itself, and that came back from the task as if they were the worker.

A program that failed to `exec`, or forgot `os._exit`. Two processes at one desk would answer the same task
twice, and the second would outlive the pool: it ends where the task's code does, as a program of its own would.
"""

import os
import sys
import traceback
from multiprocessing import util
from typing import NoReturn


def end(error: BaseException | None) -> NoReturn:
    """End a stray whose task's code has raised that, or returned: no result and no exit function is its business."""
    code = 0
    try:
        if isinstance(error, SystemExit) and isinstance(error.code, int | None):
            code = (error.code or 0) & 0xFF
        elif isinstance(error, SystemExit):
            code = 1
            sys.stderr.write(f"{error.code}\n")
        elif error is not None:
            code = 1
            traceback.print_exception(error)
        util._flush_std_streams()  # type: ignore[attr-defined]
    finally:
        os._exit(code)
