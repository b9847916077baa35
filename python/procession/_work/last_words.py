"""What a worker wrote to `sys.stderr` last, kept where its death does not reach.

    +-------+-----------------------------------------------------+
    | count | the last SIZE bytes of all that was written: a ring |
    +-------+-----------------------------------------------------+

The count of all bytes comes after the bytes: whoever is killed in between leaves the words
before, but for those that were being overwritten. Kept is what goes through the `write` of the
object that `sys.stderr` is when the worker begins: prints, warnings, logs, tracebacks. What C code
writes to the descriptor is not.

Workers load this module when they begin: it imports little.
"""

from __future__ import annotations

import sys

from procession import _native
from procession._wire import carry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

SIZE: Final = 4088
"""Bytes that are kept: a page, with the count."""
COUNT: Final = 8
LINES: Final = 20
"""Lines that a death is told with at most."""


class LastWords:
    """Made by the pool, filled by one worker."""

    def __init__(self) -> None:
        self._memory = _native.Memory(COUNT + SIZE)
        self._view = memoryview(self._memory)

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrive, (self._memory._handle(), carry.board(self._memory))

    def keep(self) -> None:
        """Have all that is written to `sys.stderr` from now on kept as well."""
        stream: Any = sys.stderr
        write = getattr(stream, "write", None)
        if write is None:
            return

        def write_and_keep(text: str) -> Any:
            written = write(text)
            self.add(text)
            return written

        try:
            stream.write = write_and_keep
        except AttributeError:  # a stream that lets nobody change it
            return

    def add(self, text: str) -> None:
        """Keep the end of it."""
        content = text.encode("utf-8", "backslashreplace")[-SIZE:]
        count = self._count()
        at = count % SIZE
        head, rest = content[: SIZE - at], content[SIZE - at :]
        self._view[COUNT + at : COUNT + at + len(head)] = head
        self._view[COUNT : COUNT + len(rest)] = rest
        self._view[:COUNT] = (count + len(content)).to_bytes(COUNT, "little")

    def tell(self) -> str:
        """The last lines."""
        count = self._count()
        ring = bytes(self._view[COUNT:])
        at = count % SIZE
        content = ring[:at] if count < SIZE else ring[at:] + ring[:at]
        return "\n".join(content.decode("utf-8", "replace").splitlines()[-LINES:])

    def _count(self) -> int:
        return int.from_bytes(self._view[:COUNT], "little")


def _arrive(handle: tuple[bytes, int, int], _ticket: carry.ArenaTicket | None) -> LastWords:
    words = LastWords.__new__(LastWords)
    words._memory = _native.Memory._open(handle)
    words._view = memoryview(words._memory)
    return words
