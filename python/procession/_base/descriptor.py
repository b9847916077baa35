"""A file descriptor that is closed once, by the process that opened it.

A forked child holds a copy of the number only, and programs close descriptors that
are not theirs: closing by number could then close something else. So the process and
the file are compared first.
"""

import os


def _identity(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


class Descriptor:
    """Closes its descriptor when told to, or when it is dropped."""

    _fd = -1  # also while a signal handler that raises interrupts the making

    def __init__(self, fd: int, *, everywhere: bool = False) -> None:
        """`everywhere`: a forked child's copy is the child's own, to use and to close."""
        self._identity, self._pid, self._everywhere = _identity(fd), os.getpid(), everywhere
        self._fd = fd

    def fileno(self) -> int:
        """The number; -1 when it was closed."""
        return self._fd

    def is_open(self) -> bool:
        """Whether the number still means the file."""
        try:
            return self._fd >= 0 and _identity(self._fd) == self._identity
        except OSError:  # the program has closed it
            return False

    def close(self) -> None:
        """Close it, if it is ours."""
        if (self._everywhere or self._pid == os.getpid()) and self.is_open():
            os.close(self._fd)
        self._fd = -1

    def __del__(self) -> None:
        self.close()
