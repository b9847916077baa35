"""A file descriptor that is closed once, by the process that opened it.

A forked child holds a copy of the number only, and programs close descriptors that
are not theirs: closing by number could then close something else. So the process and
the file are compared first.
"""

import os
from contextlib import suppress


def _identity(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


class Descriptor:
    """Closes its descriptor when told to, or when it is dropped."""

    _fd = -1  # also while a signal handler that raises interrupts the making

    def __init__(self, fd: int) -> None:
        self._identity, self._pid = _identity(fd), os.getpid()
        self._fd = fd

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd < 0 or self._pid != os.getpid():
            return
        with suppress(OSError):  # the program has closed it
            if _identity(fd) == self._identity:
                os.close(fd)

    def __del__(self) -> None:
        self.close()
