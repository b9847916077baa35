"""The standard input of a forked child: empty, as the standard library has it.

Opening /dev/null as a text file is a sixth of a short child's life, nearly all of it
copied pages, and closing the inherited file another tenth. So the file object is made
once, when this module is imported, its descriptor only when somebody asks for it, and
the inherited one is just no longer `sys.stdin` (its descriptor stays open in the
standard library's children, too).
"""

import io
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Buffer
else:
    Buffer = Any


class _Nothing(io.RawIOBase):
    """/dev/null, which is opened when its number is asked for."""

    mode = "rb"
    _fd = -1

    def readable(self) -> bool:
        return True

    def readinto(self, _into: Buffer, /) -> int:
        return 0

    def fileno(self) -> int:
        if self.closed:
            return super().fileno()
        if self._fd < 0:
            self._fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        return self._fd

    @property
    def name(self) -> int:
        return self.fileno()

    def close(self) -> None:
        global _is_open
        _is_open = False
        super().close()


def _make() -> io.TextIOWrapper:
    global _is_open
    made = io.TextIOWrapper(io.BufferedReader(_Nothing()), encoding="utf-8")
    made.mode = "r"  # type: ignore[misc]  # as open() does
    _is_open = True
    return made


_is_open: bool
_empty = _make()


def empty() -> io.TextIOWrapper:
    """An empty text file; a new one when a child's program has closed the one that all share."""
    global _empty
    if not _is_open:
        _empty = _make()
    return _empty
