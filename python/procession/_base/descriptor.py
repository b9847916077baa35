"""A file descriptor that is closed once, by the process that opened it.

A forked child holds a copy of the number only: closing it there could close
something else that took the number since.
"""

import os


class Descriptor:
    """Closes its descriptor when told to, or when it is dropped."""

    __slots__ = ("_fd", "_pid")

    def __init__(self, fd: int) -> None:
        self._fd, self._pid = fd, os.getpid()

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0 and self._pid == os.getpid():
            os.close(fd)

    def __del__(self) -> None:
        self.close()
