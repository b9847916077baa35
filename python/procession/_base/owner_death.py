"""What the program hears of a dead owner.

The core calls in from native code, so the frame above a hook is the one that acquired.
"""

import sys
import warnings
from types import FrameType
from typing import TYPE_CHECKING

from procession import _native
from procession._base import log
from procession._base.errors import OwnerDiedError, OwnerDiedWarning

if TYPE_CHECKING:
    from procession._native import Semaphore, SemLock

_LIBRARIES = ("procession", "multiprocessing", "threading")


def is_library(frame: FrameType) -> bool:
    """Whether the frame is ours or the standard library's, not the program's."""
    module = str(frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] in _LIBRARIES


def _users_line() -> int:
    """The stacklevel, for a warning given by the caller, of the nearest frame outside the libraries."""
    level, frame = 2, sys._getframe(2)
    while is_library(frame) and frame.f_back is not None:
        level, frame = level + 1, frame.f_back
    return level


def _kind(lock: "SemLock | Semaphore") -> str:
    return type(lock).__name__


def warn_of_takeover(lock: "SemLock | Semaphore", pid: int) -> None:
    """Tell the program that it holds a lock whose last owner died with it. Runs with the lock held.

    For a semaphore: that the permits of the dead came back. Runs with none of them taken.
    """
    who = f"process {pid}" if pid else "a process"
    message = f"{who} died holding a {_kind(lock)}, which was taken over: what it guards may be half-done"
    if isinstance(lock, _native.Semaphore):
        message = (
            f"{who} died holding a {_kind(lock)}, whose permits came back: what it guards may be half-done"
        )
    log.warning(message)
    warnings.warn(OwnerDiedWarning(message), stacklevel=_users_line())


def refuse(lock: "SemLock", pid: int) -> OwnerDiedError:
    """The error for a lock whose policy is to raise."""
    return OwnerDiedError(_kind(lock), pid, lock)
