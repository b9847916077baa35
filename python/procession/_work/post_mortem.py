"""Why a worker died, as far as that can be known."""

import reprlib
import resource
from typing import Any

_VMSTAT = "/proc/vmstat"


def oom_kills() -> int | None:
    """How many processes the kernel has ended on this machine for want of memory; None when it does not say."""
    try:
        with open(_VMSTAT, encoding="ascii") as file:  # noqa: PTH123
            for line in file:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    except OSError:
        pass
    return None


def resident(pid: int) -> int:
    """Bytes of memory that a process has now; 0 when it has ended."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def was_oom(exitcode: int | None, before: int | None, after: int | None) -> bool | None:
    """Whether the kernel ended a process for want of memory; None: perhaps."""
    if exitcode != -9:
        return False
    if before is None or after is None:
        return None
    return False if before == after else None


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
