"""A child that a zygote forks.

It is the zygote's child, so the zygote collects it and relays its exit status; in all else
it is ours: watched and signalled by its pidfd.
"""

import os
import socket
from contextlib import suppress
from multiprocessing import process
from typing import Any, ClassVar, Final

from procession._base.deadline import Deadline
from procession._launch import datagram, popen
from procession._launch.arrival import Sent
from procession._launch.exit_status import of_pidfd
from procession._launch.outfit import Outfit
from procession._launch.zygote import ENDED, INLINE, go, zygote

UNKNOWN: Final = 255  # the standard library's exit code of a child whose server is gone


class Popen(popen.Popen):
    """A child that begins as a copy of the zygote."""

    method: ClassVar[str] = "forkserver"
    DupFd: ClassVar[Any] = Sent

    _reply: socket.socket | None = None

    def __init__(self, process_obj: process.BaseProcess) -> None:
        self._fds: list[int] = []
        super().__init__(process_obj)

    def duplicate_for_child(self, fd: int) -> int:
        """Which of the descriptors that the child is sent it will be."""
        self._fds.append(fd)
        return len(self._fds) - 1

    def _launch(self, process_obj: process.BaseProcess) -> None:
        line = zygote.line()
        with Outfit(self, line.end.fileno()) as outfit:
            outfit.pack(process_obj)
            file = outfit.as_file() if outfit.size > INLINE else None
            child = zygote.fork()
            self.pid, self._reply = child.pid, child.reply
            self._watch(child.pidfd)
            self._made.append(child.pid)
            outfit.announce(child.pid)
            with suppress(datagram.GoneError):  # killed before it began: its exit status will tell
                go(child.reply, outfit.head, outfit.body, file, self._fds)
            outfit.handed_over()

    def _wait_for_end(self) -> None:
        self._has_ended(Deadline.after(None))

    def _collect(self) -> int | None:
        if not self._has_ended(Deadline.after(0)):
            return None
        said = None
        if self._reply is not None:
            with self._reply:
                said, self.peak_memory = _status(self._reply)
            self._reply = None
        if said is None:
            said = of_pidfd(self.sentinel)
        return UNKNOWN if said is None else said

    def close(self) -> None:
        """Give up the descriptors."""
        super().close()
        if self._reply is not None:
            self._reply.close()


def _status(reply: socket.socket) -> tuple[int | None, int | None]:
    """What the zygote says of a child that has ended, and its memory; what the child said, when the zygote is gone."""
    said = None
    with suppress(datagram.GoneError):
        while True:
            message, _ = datagram.receive(reply, ENDED.size)
            kind, number, kibibytes = ENDED.unpack(message)
            if kind == b"S":
                return os.waitstatus_to_exitcode(number), kibibytes * 1024
            said = number
    return said, None
