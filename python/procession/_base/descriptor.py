"""A file descriptor that is closed once, by the process that opened it.

A forked child holds a copy of the number only, and programs close descriptors that
are not theirs: closing by number could then close something else. So the process and
the file are compared first.
"""

import os

Identity = tuple[int, int]


def identity(fd: int) -> Identity:
    """Which file a descriptor means."""
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def means(fd: int, file: Identity) -> bool:
    """Whether a number still means that file."""
    try:
        return identity(fd) == file
    except OSError:  # the program has closed it
        return False


class Descriptor:
    """Closes its descriptor when told to, or when it is dropped."""

    _fd = -1  # also while a signal handler that raises interrupts the making

    def __init__(self, fd: int) -> None:
        self._identity, self._pid = identity(fd), os.getpid()
        self._fd = fd

    def close(self) -> None:
        """Close it, if it is ours."""
        fd, self._fd = self._fd, -1
        if fd >= 0 and self._pid == os.getpid() and means(fd, self._identity):
            os.close(fd)

    def __del__(self) -> None:
        if os is not None:  # an ending interpreter has let go of modules; the kernel closes what is open
            self.close()
