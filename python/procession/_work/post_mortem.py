"""How a worker is, or was when it died, as far as that can be known."""

import reprlib
import resource
from typing import Any


def resident(pid: int) -> int:
    """Bytes of memory that a process has now; 0 when it has ended."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def is_stopped(pid: int) -> bool:
    """Whether somebody has stopped a process (SIGSTOP, or job control)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            return file.read().rpartition(b") ")[2][:1] == b"T"
    except OSError:
        return False


_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80


def describe(job: Any, item: Any) -> str:
    """A task as a call, shortened."""
    try:
        if job.kind == 0:
            function, args, kwds = item
        else:
            function, args, kwds = job.function, item if job.kind == 2 else (item,), {}
        parts = [_short.repr(arg) for arg in args]
        parts += [f"{name}={_short.repr(value)}" for name, value in kwds.items()]
        name = getattr(function, "__qualname__", None) or _short.repr(function)
        return f"{name}({', '.join(parts)})"
    except Exception as error:  # noqa: BLE001  a __repr__ is anybody's code
        return f"<no repr: {type(error).__name__}>"
