"""What a process says about its locks and permits when it ends cleanly.

A lock that is still held then stays held, as the standard library has it: nobody
takes it over, because its owner meant to go; so do a semaphore's permits, unless it
is used for signalling. The core is told so, and the user is warned. In the main
program, and in children that end as interpreters do, atexit does it; in children of
ours, the launcher; in children by fork of the standard library's, a finalizer that
runs after all others. They empty the registry of finalizers when they start, so an
after-fork hook fills it again.
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
    """Mark the locks still held as left by a clean exit, and say so; of permits still held as well."""
    held = _native.detach_held()
    if held:
        tell(held)


def tell(held: list[tuple[str, int]]) -> None:
    """Warn of what is left held, by kind and how much, unless nobody is left to miss it."""
    if _native.statistics()["members"] <= 1:
        return
    locks = [kind for kind, _ in held if kind != "Semaphore"]
    permits = sum(count for kind, count in held if kind == "Semaphore")
    what = []
    if locks:
        what.append(f"{len(locks)} lock(s) ({', '.join(sorted(set(locks)))})")
    if permits:
        what.append(f"{permits} permit(s) of a Semaphore")
    who = f"{process.current_process().name} (pid {os.getpid()})"
    message = f"{who} ends holding {' and '.join(what)}: they stay held"
    log.warning(message)
    # Not by `warnings`: there is no line of the program's to name, a filter that raises would silence
    # it here, and the modules it imports undo the interpreter's death by SIGINT.
    with suppress(AttributeError, OSError, ValueError):  # no stderr, or a closed one
        sys.stderr.write(f"procession: {message}\n")


class _Watch:
    """What the registry of after-fork hooks holds: it arms the children that the standard library starts."""

    is_needed = True

    def arm(self) -> None:
        if self.is_needed:
            util.Finalize(None, leave_locks_held, exitpriority=LAST)


_watch = _Watch()


def watch() -> None:
    """See to it that this process, and each child by fork, says farewell."""
    atexit.register(leave_locks_held)
    util.register_after_fork(_watch, _Watch.arm)


def leave_it_to_launcher() -> None:
    """In a child of our own launcher, which calls the core itself: a finalizer would cost the child more."""
    _watch.is_needed = False


def is_alone() -> bool:
    """Whether nobody but us has registered something to run after a fork."""
    hooks = util._afterfork_registry.data  # type: ignore[attr-defined]
    return len(hooks) <= 1 and not _watch.is_needed
