"""Named blocks of shared memory, which unrelated programs find by their names.

    from procession.shared_memory import SharedMemory

    block = SharedMemory(create=True, size=1 << 20)
    print(block.name)                                  # another program: SharedMemory(that name)

The names and the bytes are the standard library's: programs that use its module attach to these blocks, and these
attach to theirs. What differs is who removes a block that nobody has unlinked: see `track`.
"""

import os
from collections.abc import Iterable
from typing import Any

from procession._shared.segments import Segment
from procession._shared.shareable import PackedList

__all__ = ["ShareableList", "SharedMemory"]

_USE_POSIX = True
_O_CREX = os.O_CREAT | os.O_EXCL
_SHM_NAME_PREFIX = "/psm_"


def _make_filename() -> str:
    """A name that hardly anybody has."""
    return _SHM_NAME_PREFIX + os.urandom(4).hex()


class SharedMemory(Segment):
    """A block of shared memory with a name: a new one, or one that exists.

    `create=True` makes it, with `size` bytes of zeros, under `name` or a new name; FileExistsError when there is
    one. Otherwise the block of that name is attached, and FileNotFoundError when there is none. `close()` gives up
    this view of it, `unlink()` removes it, once and for all processes.

    Attaching never destroys, however the process ends. `track=True` (the default) says of a block that is made here
    that it goes with the family of its creator: when the last process of the family has ended, by SIGKILL too, and
    nobody has unlinked the block, its name is removed. A block made with `track=False` stays until it is unlinked.

    After a fork the child has the block, too. Where /dev/shm is full the first touch of a page is a SIGBUS, as with the
    standard library.
    """

    def __init__(
        self, name: str | None = None, create: bool = False, size: int = 0, *, track: bool = True
    ) -> None:
        if not size >= 0:
            raise ValueError("'size' must be a positive integer")
        if create:
            self._flags = _O_CREX | os.O_RDWR
            if size == 0:
                raise ValueError("'size' must be a positive number different from zero")
        if name is None and not self._flags & os.O_EXCL:
            raise ValueError("'name' can only be None if create=True")
        self._track = track
        if create or name is None:
            self._create(name, size)
        else:
            self._attach(name)
        try:
            self._map()
        except OSError:
            if create:
                self.unlink()
            raise

    def _new_name(self) -> str:
        return _make_filename()

    def __reduce__(self) -> tuple[Any, ...]:
        return self.__class__, (self.name, False, self.size)


class ShareableList(PackedList):
    """A list in shared memory of int, float, bool, str, bytes and None: its length does not change.

    A str or bytes has the room that it was made with, in steps of 8 bytes, and loses zeros at its end. `name` alone
    attaches to a list that exists, the standard library's as well. `shm` is the block: `shm.close()` and
    `shm.unlink()` end it, and `track` is the block's. There is no lock: who reads a value that another process is
    setting may read half of it.
    """

    def __init__(
        self, sequence: Iterable[Any] | None = None, *, name: str | None = None, track: bool = True
    ) -> None:
        if name is None or sequence is not None:
            self._lay_out(
                sequence or (), lambda size: SharedMemory(name, create=True, size=size, track=track)
            )
        else:
            self._find(SharedMemory(name))
