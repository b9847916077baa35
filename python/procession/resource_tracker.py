"""Removing what others leave behind.

Blocks of `procession.shared_memory` go with the family of their creator: `register()` and `unregister()` say of such a
block whether they do. All else (the standard library's blocks, semaphores) is for the standard library's tracker.
"""

import sys
from contextlib import suppress
from multiprocessing import resource_tracker as standard
from typing import Any

from procession import _native

__all__ = ["ensure_running", "register", "unregister"]


def ensure_running() -> None:
    """Start the standard library's tracker, which children then share. Blocks of ours need none."""
    standard._resource_tracker.ensure_running()


def _is_ours(name: str) -> bool:
    segments = sys.modules.get("procession._shared.segments")  # else there are none
    return segments is not None and segments.is_open(name)


def register(name: str, rtype: str) -> None:
    """From now on what has this name goes with the family."""
    if rtype == "shared_memory" and _is_ours(name):
        with suppress(FileNotFoundError):
            _native.track_segment(name)
    else:
        standard._resource_tracker.register(name, rtype)


def unregister(name: str, rtype: str) -> None:
    """From now on what has this name stays until somebody unlinks it.

    A block that was only attached to is not touched by who ends, so that there is nothing to call this for; it does no harm.
    """
    if rtype == "shared_memory" and _is_ours(name):
        with suppress(FileNotFoundError):
            _native.untrack_segment(name)
    else:
        standard._resource_tracker.unregister(name, rtype)


def __getattr__(name: str) -> Any:
    return getattr(standard, name)
