"""Named segments of shared memory, on which `procession.shared_memory` puts the standard library's face.

    creator      an unnamed file -> its length -> its tag -> its name
    anybody      the name -> the file                                  changes nothing
    unlink       the name goes, then the tag

The tag says whose the segment is; `procession-shm/src/warden.rs` is who reads it.
"""

import _posixshmem  # type: ignore[import-not-found]
import atexit
import mmap
import os
import re
from contextlib import suppress
from typing import Any, Final
from weakref import WeakValueDictionary

from procession import _native

_PLAIN: Final = re.compile(r"/*[^/\0]{1,255}", re.DOTALL)
"""What `shm_open` takes for a name. The rest is for it to refuse, in its own words."""


# Segments that the program leaves are the warden's to remove: there must be one.
atexit.register(_native.renew_warden)

_open: Final[WeakValueDictionary[int, "Segment"]] = WeakValueDictionary()
"""The segments of this process, by their id."""


def is_open(name: str) -> bool:
    """Whether this process has a segment of that name."""
    return any(segment._name == name for segment in list(_open.values()))


def create(name: str, flags: int, mode: int, size: int, *, track: bool) -> int:
    """A descriptor of a new segment, which has its size, and its tag when it is tracked, before it has its name."""
    encoded = name.lstrip("/")
    if not _PLAIN.fullmatch(name) or encoded in (".", "..") or len(encoded.encode()) > 255:
        fd: int = _posixshmem.shm_open(name, flags, mode=mode)
        return fd
    return _native.create_segment(name, mode, size, track)


class Segment:
    """A segment that this process has open and mapped: what SharedMemory is made of."""

    # What close() and unlink() find while there is nothing.
    _name: Any = None
    _fd = -1
    _mmap: mmap.mmap | None = None
    _buf: memoryview | None = None
    _size = 0
    _flags = os.O_RDWR
    _mode = 0o600
    _prepend_leading_slash = True
    _track = True

    def _create(self, name: str | None, size: int) -> None:
        """Make a segment of that name, or of the first new one that is free."""
        if name is not None:
            self._name = self._full(name)
            self._fd = create(self._name, self._flags, self._mode, size, track=self._track)
        while self._fd < 0:
            self._name = self._new_name()
            with suppress(FileExistsError):
                self._fd = create(self._name, self._flags, self._mode, size, track=self._track)

    def _attach(self, name: str) -> None:
        full = self._full(name)
        self._fd = _posixshmem.shm_open(full, self._flags, mode=self._mode)
        self._name = full

    def _map(self) -> None:
        _open[id(self)] = self
        self._size = os.fstat(self._fd).st_size
        self._mmap = mmap.mmap(self._fd, self._size)
        self._buf = memoryview(self._mmap)

    def _full(self, name: str) -> str:
        if "\0" in name:
            raise ValueError("embedded null character")
        return "/" + name if self._prepend_leading_slash else name

    def _new_name(self) -> str:
        raise NotImplementedError

    def __del__(self) -> None:
        try:
            self.close()
        except OSError:  # the descriptor was closed by its number
            return

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.name!r}, size={self.size})"

    @property
    def buf(self) -> memoryview:
        """A view of the segment's bytes; None when it is closed."""
        return self._buf  # type: ignore[return-value]

    @property
    def name(self) -> str:
        """What other programs attach by."""
        name: str = self._name
        return name[1:] if self._prepend_leading_slash and name.startswith("/") else name

    @property
    def size(self) -> int:
        """Bytes of the segment."""
        return self._size

    def close(self) -> None:
        """Give up this view of the segment, which stays. Others that still use `buf` make it a BufferError."""
        if self._buf is not None:
            self._buf.release()
            self._buf = None
        if self._mmap is not None:
            self._mmap.close()
            self._mmap = None
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def unlink(self) -> None:
        """Take the segment's name away: nobody can attach any more, and its memory goes with its last user.

        One process calls it, once: FileNotFoundError when there is no such name.
        """
        if self._name:
            _native.unlink_segment(self._name)
