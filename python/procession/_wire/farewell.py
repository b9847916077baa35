"""What a process says about its locks when it ends cleanly.

A lock that is still held then stays held, as the standard library has it: nobody
takes it over, because its owner meant to go. The core is told so, and the user is
warned. The work is done by a finalizer that runs after all others, in children of
ours and of the standard library's alike: both run its finalizers, and both empty
the registry of finalizers when they start, so it is filled again after a fork.
"""

import os
import warnings
from multiprocessing import process, util
from typing import Any, Final

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
    warnings.warn_explicit(message, RuntimeWarning, "procession", 0)


class _LastFinalizer(util.Finalize):
    """Runs also in a child by a bare os.fork(), which inherits it."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._pid = os.getpid()  # the standard library skips the finalizers of another process
        return super().__call__(*args, **kwargs)


class _Watch:
    """What the registry of after-fork hooks holds; its hook fills the child's registry of finalizers."""

    is_needed = True

    def arm(self) -> None:
        if self.is_needed:
            _LastFinalizer(None, leave_locks_held, exitpriority=LAST)


_watch = _Watch()


def watch() -> None:
    """See to it that this process, and each child by fork, says farewell."""
    _watch.arm()
    util.register_after_fork(_watch, _Watch.arm)


def leave_it_to_launcher() -> None:
    """In a child of our own launcher, which calls the core itself: a finalizer would cost the child more."""
    _watch.is_needed = False
