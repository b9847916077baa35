"""What a worker wrote to `sys.stderr` last, kept where its death does not reach.

    +-------+-----------------------------------------------------+
    | count | the last SIZE bytes of all that was written: a ring |
    +-------+-----------------------------------------------------+

The count of all bytes comes after the bytes: whoever is killed in between leaves the words
before, but for those that were being overwritten. Kept is what goes through the `write` of the
object that `sys.stderr` is when the worker begins: prints, warnings, logs, tracebacks. What C code
writes to the descriptor is not.
"""

import sys
from contextlib import suppress
from typing import Any, Final

from procession import _native
from procession._shared import handles

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
        _, found = handles.reduce(self._memory)
        return _arrive, found

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

        with suppress(AttributeError):  # a stream that lets nobody change it
            stream.write = write_and_keep

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


def _arrive(*handle: Any) -> LastWords:
    words = LastWords.__new__(LastWords)
    words._memory = handles.open_handle(*handle)
    words._view = memoryview(words._memory)
    return words
