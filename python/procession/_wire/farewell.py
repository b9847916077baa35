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
from typing import Final

from procession import _native
from procession._base import log

LAST: Final = -(10**9)  # an exit priority below whatever a program uses


def leave_locks_held() -> None:
    """Mark the locks still held as left by a clean exit, and say so."""
    held = _native.detach_held()
    if not held:
        return
    kinds = ", ".join(sorted({kind for kind, _ in held}))
    name, count = process.current_process().name, len(held)
    message = f"{name} (pid {os.getpid()}) ends holding {count} lock(s) ({kinds}): they stay held"
    log.warning(message)
    warnings.warn_explicit(message, RuntimeWarning, "procession", 0)


class _Arming:
    """Registers the finalizer anew in each child; the registry of after-fork hooks wants an object."""

    def arm(self) -> None:
        util.Finalize(None, leave_locks_held, exitpriority=LAST)


_arming = _Arming()
_arming.arm()
util.register_after_fork(_arming, _Arming.arm)
