"""What a process says about its locks when it ends cleanly.

A lock that is still held then stays held, as the standard library has it: nobody
takes it over, because its owner meant to go. The core is told so, and the user is
warned. In children of ours the launcher does it; elsewhere a finalizer that runs after
all others, for finalizers release locks: pools end in one. Children by fork of the
standard library's empty the registry of finalizers when they start, so an after-fork
hook fills it again; the main program, and children that end as interpreters do, are
armed when they begin to exit.
"""

import atexit
import os
import sys
from contextlib import suppress
from multiprocessing import process, util
from typing import Final

from procession import _native
from procession._base import log

LAST: Final = -(10**9)  # an exit priority below whatever a program uses


def leave_locks_held() -> None:
    """Mark the locks still held as left by a clean exit, and say so."""
    held = _native.detach_held()
    if held:
        tell(held)


def tell(held: list[tuple[str, int]]) -> None:
    """Warn of locks left held, unless nobody is left to miss them."""
    if _native.statistics()["members"] <= 1:
        return
    kinds = ", ".join(sorted({kind for kind, _ in held}))
    name, count = process.current_process().name, len(held)
    message = f"{name} (pid {os.getpid()}) ends holding {count} lock(s) ({kinds}): they stay held"
    log.warning(message)
    # Not by `warnings`: there is no line of the program's to name, a filter that raises would silence
    # it here, and the modules it imports undo the interpreter's death by SIGINT.
    with suppress(AttributeError, OSError, ValueError):  # no stderr, or a closed one
        sys.stderr.write(f"procession: {message}\n")


def _arm_or_leave() -> None:
    """The interpreter exits: have the finalizers run first, unless they have."""
    if util.is_exiting():  # type: ignore[attr-defined, unused-ignore]
        leave_locks_held()
    else:
        util.Finalize(None, leave_locks_held, exitpriority=LAST)


class _Watch:
    """What the registry of after-fork hooks holds: it arms the children that the standard library starts."""

    is_needed = True

    def arm(self) -> None:
        if self.is_needed:
            util.Finalize(None, leave_locks_held, exitpriority=LAST)


_watch = _Watch()


def watch() -> None:
    """See to it that this process, and each child by fork, says farewell."""
    atexit.register(_arm_or_leave)
    util.register_after_fork(_watch, _Watch.arm)


def leave_it_to_launcher() -> None:
    """In a child of our own launcher, which calls the core itself: a finalizer would cost the child more."""
    _watch.is_needed = False


def is_alone() -> bool:
    """Whether nobody but us has registered something to run after a fork."""
    hooks = util._afterfork_registry.data  # type: ignore[attr-defined]
    return len(hooks) <= 1 and not _watch.is_needed
