"""A child by a new interpreter.

parent                                   child
reserve its slot, pickle, memfd
vfork and exec, six descriptors ----->   arrival: arena, parent's pidfd, path, __main__
pidfd_open(child)                        the process object, _bootstrap()
close what it has copies of              exit as interpreters do
"""

from multiprocessing import process
from typing import Any, ClassVar

from procession._launch import command, popen
from procession._launch.arrival import Kept
from procession._launch.execute import execute
from procession._launch.outfit import Outfit, tracker_fd


class Popen(popen.Popen):
    """A child that is a new interpreter."""

    method: ClassVar[str] = "spawn"
    DupFd: ClassVar[Any] = Kept

    def __init__(self, process_obj: process.BaseProcess) -> None:
        self._fds: list[int] = []
        super().__init__(process_obj)

    def duplicate_for_child(self, fd: int) -> int:
        """The same number; the child is given it."""
        self._fds.append(fd)
        return fd

    def _launch(self, process_obj: process.BaseProcess) -> None:
        with Outfit(self) as outfit:
            outfit.pack(process_obj)
            data = outfit.as_file()
            words = command.of_child(data, len(outfit.head), tracker_fd())
            execute(self._made, words[0], words, [data, *self._fds])
            outfit.handed_over()
        self._watch_own_child()
