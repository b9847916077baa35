"""What a process that does not begin as a copy takes along: bytes, descriptors, places in arenas.

It is all there before the child exists, and the child needs nothing more of its parent:
a parent may end, or be killed, as soon as the child has its copies of the descriptors.
"""

import os
import sys
from io import BytesIO
from multiprocessing import context, process
from multiprocessing.context import set_spawning_popen
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from procession._base import memory_file
from procession._launch import preparation
from procession._launch.arrival import Arrival
from procession._wire import carry, pickling

if TYPE_CHECKING:
    from typing import Self

    from procession._launch.arrival import Travelling


class Carrier(Protocol):
    """A Popen that sends descriptors to its child."""

    DupFd: ClassVar[Any]
    _fds: list[int]

    def duplicate_for_child(self, fd: int) -> int: ...


class Outfit:
    """Made by packing; its own descriptors are closed, and what was not handed over given up, at the end of `with`."""

    def __init__(self, popen: Carrier, line: int | None = None) -> None:
        self._popen, self._line = popen, line
        self._own: list[int] = []
        self._passages = carry.expect(popen)
        self.head = self.body = b""

    def __enter__(self) -> "Self":
        return self

    def pack(self, process_obj: process.BaseProcess) -> None:
        """Pickle the process object and all that it needs; what cannot be pickled raises here."""
        data = preparation.data(process_obj._name)  # type: ignore[attr-defined]
        set_spawning_popen(self._popen)  # type: ignore[arg-type]
        try:
            self.body = pickling.dumps(
                process_obj, "Process", finds_main=preparation.finds_main(data), again=self._popen._fds.clear
            )
            self.head = _dumps({"procession_arrival": self._arrival(), **data})
        finally:
            set_spawning_popen(None)

    @property
    def size(self) -> int:
        """Bytes of head and body."""
        return len(self.head) + len(self.body)

    def as_file(self) -> int:
        """A descriptor that reads head and body."""
        fd = memory_file.holding(self.head, self.body)
        self._own.append(fd)
        return fd

    def _arrival(self) -> Arrival:
        parent = os.pidfd_open(os.getpid())
        self._own.append(parent)
        tracker = tracker_fd()
        places = []
        for place in self._passages.places():
            arena, slot = place.descriptors()
            places.append((self._send(arena), self._send(slot), place.manifest()))
        return Arrival(
            self._send(parent),
            None if tracker is None else self._send(tracker),
            None if self._line is None else self._send(self._line),
            places,
        )

    def _send(self, fd: int) -> "Travelling":
        travelling: Travelling = self._popen.DupFd(self._popen.duplicate_for_child(fd))
        return travelling

    def announce(self, pid: int) -> None:
        """Which process the child will be."""
        self._passages.announce(pid)

    def handed_over(self) -> None:
        """The child has its copies."""
        self._passages.handed_over()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        carry.forget(self._popen)
        self._passages.abandon()
        while self._own:
            os.close(self._own.pop())


def _dumps(obj: object) -> bytes:
    into = BytesIO()
    context.reduction.dump(obj, into)  # type: ignore[attr-defined]
    return into.getvalue()


def tracker_fd() -> int | None:
    """The standard library's resource tracker, which children of a program that uses it must share."""
    tracker = sys.modules.get("multiprocessing.resource_tracker")
    if tracker is None:
        return None
    fd: int = tracker.getfd()
    return fd
