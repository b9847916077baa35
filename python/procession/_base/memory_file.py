"""Bytes behind a descriptor, without a name: what one process leaves for the next."""

import os
from contextlib import suppress


def _open() -> int:
    with suppress(OSError):  # where memfd is denied
        return os.memfd_create("procession-start", os.MFD_CLOEXEC)
    import tempfile  # noqa: PLC0415  it is large, and hardly ever needed

    with tempfile.TemporaryFile(buffering=0) as file:
        return os.dup(file.fileno())


def holding(*parts: bytes) -> int:
    """A new descriptor that reads these bytes from the first one on."""
    fd = _open()
    try:
        at = 0
        for part in parts:
            left = memoryview(part)
            while left:
                written = os.pwrite(fd, left, at)
                left, at = left[written:], at + written
    except BaseException:
        os.close(fd)
        raise
    return fd
