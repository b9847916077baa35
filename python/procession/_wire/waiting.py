"""What a program hears when Ctrl-C ends a wait: what it waited for, who has it, and where they took it."""

import os
import sys
from multiprocessing import process
from typing import Final

from procession import _native

BRIEF: Final = 10.0  # seconds; shorter waits are told to a tenth


def tell(what: str, nanoseconds: int, lock: _native.SemLock | None) -> None:
    """Write one line on stderr. Called by the core, before KeyboardInterrupt is raised."""
    seconds = nanoseconds / 1e9
    duration = f"{seconds:.1f}" if seconds < BRIEF else f"{seconds:.0f}"
    thing = what if lock is None else f"{_with_article(type(lock).__name__)}{_holder(lock)}"
    sys.stderr.write(f"waiting {duration} s for {thing}\n")


def _with_article(name: str) -> str:
    return f"an {name}" if name.startswith("RL") else f"a {name}"


def _holder(lock: _native.SemLock) -> str:
    holder = lock.holder
    if holder is None:
        return ""
    site = lock._site()
    return f" {_who(lock, holder[0])}" + (f", taken at {site}" if site else "")


def _who(lock: _native.SemLock, pid: int) -> str:
    if pid == 0:
        return "left held by a process that has ended"
    if pid != os.getpid():
        name = _name_of(pid)
        return f"held by pid {pid}" + (f" ({name})" if name else "")
    if lock._is_mine():
        return "that this very thread holds: it waits for itself"
    return "held by another thread of this process"


def _name_of(pid: int) -> str | None:
    """The name of a process of ours: a child, the parent."""
    parent = process.parent_process()
    relatives = [*process.active_children(), *([parent] if parent else [])]
    return next((relative.name for relative in relatives if relative.pid == pid), None)
