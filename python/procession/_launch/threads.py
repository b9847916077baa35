"""The warning of a fork while other threads run.

The child has a copy of every lock as it is at that moment, and none of the threads that
would release it: a logger's, an allocator's, one of the program's own. From 3.12 on the
interpreter warns of that too, but names nobody, and in the name of the line of ours that
forks, so that by default nobody sees it. Ours names the threads and the line that starts
the process, on every version, and comes before the fork.

Threads that the standard library's pools and queues or we ourselves run are not
mentioned: their owners put their locks right in the child.
"""

import os
import sys
import threading
import warnings
from types import FrameType
from typing import Final

from procession._base.errors import ForkWithThreadsWarning

PREPARED: Final = frozenset(
    {
        "multiprocessing.pool",
        "multiprocessing.queues",
        "multiprocessing.resource_sharer",
        "concurrent.futures.process",
    }
)
"""Modules whose threads are prepared for a fork."""

LIBRARIES: Final = frozenset({"procession", "multiprocessing", "concurrent", "threading"})
"""Packages that start processes on behalf of the line that is to be named."""

NAMED: Final = 10  # threads; a list that nobody reads to the end helps nobody

_counted: dict[
    tuple[str, int], tuple[list[int | None], int]
] = {}  # by line: threads of Python there, native ones


def warn() -> None:
    """Warn if other threads of the program run. Raises where warnings are errors: nothing has been made then."""
    if len(threading._active) < 2:  # type: ignore[attr-defined]
        return
    others = _others()
    if not others:
        return
    site = _site()
    message = (
        f"This process (pid={os.getpid()}) is multi-threaded, use of fork() may lead to deadlocks in the child: "
        f"it gets whatever locks are held by {_list(others)}{_natives(others, site)}, and nobody to release them. "
        "Start processes before threads, or by 'forkserver' or 'spawn'."
    )
    warnings.warn_explicit(
        message,
        ForkWithThreadsWarning,
        site.f_code.co_filename,
        site.f_lineno,
        site.f_globals.get("__name__"),
        site.f_globals.setdefault("__warningregistry__", {}),
    )


def _others() -> list[threading.Thread]:
    me = threading.current_thread()
    return [
        thread
        for thread in threading.enumerate()
        if thread is not me and _runs(thread) and not _is_prepared(thread)
    ]


def _runs(thread: threading.Thread) -> bool:
    # A thread that was not started by `threading` stays in its list when it has ended.
    return os.path.exists(f"/proc/self/task/{thread.native_id}")  # noqa: PTH110


def _is_prepared(thread: threading.Thread) -> bool:
    kind = type(thread)
    target = getattr(thread, "_target", None) if kind.__module__ == "threading" else kind
    module = getattr(target, "__module__", None) or ""
    return module in PREPARED or module.partition(".")[0] == "procession"


def _list(others: list[threading.Thread]) -> str:
    named = ", ".join(f"'{thread.name}'" for thread in others[:NAMED])
    threads = f"thread {named}" if len(others) == 1 else f"threads {named}"
    if len(others) > NAMED:
        threads += f" and {len(others) - NAMED} more"
    return threads


def _natives(others: list[threading.Thread], site: FrameType) -> str:
    """How many more there are, as counted when this line first forked beside these.

    A site is told once as long as the text is the same; the count is not: a thread that has
    ended for Python is the kernel's for a moment more.
    """
    native = len(os.listdir("/proc/self/task")) - sum(map(_runs, threading.enumerate()))  # noqa: PTH208
    line = site.f_code.co_filename, site.f_lineno
    beside = [thread.native_id for thread in others]
    told, first = _counted.get(line, (beside, native))
    if told != beside:
        first = native
    _counted[line] = beside, first
    return f" (and {first} that Python did not start)" if first > 0 else ""


def _site() -> FrameType:
    """The call that leads to the fork, as the program's author sees it."""
    frame = sys._getframe()
    while frame.f_globals.get("__name__", "").partition(".")[0] in LIBRARIES and frame.f_back is not None:
        frame = frame.f_back
    return frame
