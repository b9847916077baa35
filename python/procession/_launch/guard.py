"""Processes that end with their parent, however it ends, whatever they are doing.

The kernel sends a real-time signal when the parent dies, and a native handler acts on
it: also in the middle of C code that holds the GIL, and without a thread. It ignores
the end of a mere thread of the parent. What the process started goes with it, whether
it was guarded itself or not; only the standard library's resource trackers are left to
clean up and end. See `procession-sys/src/guard.rs` and ADR 12.
"""

import os

from procession import _native
from procession._base import log

_zygote: int | None = None
"""The process that forks us on behalf of others and tells us of their end; None where there is none."""


def be_zygote() -> None:
    """This process forks children for others, and calls `tell_orphan` when one of those has ended."""
    global _zygote
    _native.ignore_guard_signal()
    _zygote = os.getpid()


def tell_orphan(pid: int, parent: int) -> None:
    """In a zygote: `parent`, for which it forked `pid`, has ended. Children that are not guarded ignore it."""
    _native.tell_orphan(pid, parent)


def die_with_parent(parent: int, sentinel: int | None = None) -> None:
    """End this process and all it has started, at once and without exit functions, when process `parent` ends.

    `sentinel` is a descriptor that is readable when the parent has ended. Call it in the
    main thread. Does not return when the parent has ended already. Children by a bare
    `os.fork` are not guarded themselves: they go when this process is ended by its guard.
    """
    try:
        _native.die_with_parent(parent, sentinel, _zygote)
    except OSError as error:  # a sandbox without prctl: nothing else of the process suffers
        log.warning(f"this process will outlive its parent: {error}")
