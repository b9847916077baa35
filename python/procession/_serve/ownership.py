"""What a client's thread owns in a server, and leaves when it goes away or is killed.

A recursive lock is its thread's alone: nobody else could ever release it. And a lock
whose acquirer has gone before it heard of it is nobody's. A plain lock may be meant for somebody
else to release, so it stays held, as in the standard library; `Manager()`'s own locks
are not in a server, and know a killed owner from one that has ended.
"""

import contextlib
import threading
from collections.abc import Callable
from typing import Any, Final

_RLock: Final = type(threading.RLock())


class Owned:
    """The recursive locks that one serving thread has acquired for its client."""

    def __init__(self) -> None:
        self._locks: dict[int, Any] = {}

    def note(self, obj: Any, method: str, result: Any) -> Callable[[], object]:
        """A method was called; how to undo it."""
        if method not in ("acquire", "__enter__") or result is not True:
            return int
        lock = getattr(obj, "_lock", obj)  # a Condition's
        if isinstance(lock, _RLock):
            self._locks[id(lock)] = lock
            return int
        return obj.release if hasattr(obj, "release") else int

    def give_up(self) -> None:
        """The client has gone."""
        for lock in self._locks.values():
            with contextlib.suppress(RuntimeError):  # it is not this thread's any more
                while True:
                    lock.release()
