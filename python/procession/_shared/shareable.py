"""A list of plain values in a segment: as many as at first, each within the bytes that it had at first.

    n            8 bytes             how many
    offsets      8 bytes, n+1 times  where each value begins in the data; the last is the end of all
    data                             a value has a multiple of 8 bytes
    formats      8 bytes, n times    struct's, of each value
    kinds        1 byte, n times     what the bytes become

The standard library reads and writes the same, so a list may be shared with programs that use it. There is no lock:
a value that another process is just setting may be read half.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import accumulate
from types import GenericAlias
from typing import Any, Final

WORD: Final = 8
_FORMAT: Final = struct.Struct("8s")

_UNPACKED: Final[dict[int, Callable[[Any], Any]]] = {
    0: lambda value: value,
    1: lambda value: value.rstrip(b"\0").decode(),
    2: lambda value: value.rstrip(b"\0"),
    3: lambda _: None,
}


def _kind(value: Any) -> int:
    if value is None:
        return 3
    return 1 if isinstance(value, str) else 2 if isinstance(value, bytes) else 0


def _encoded(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


class PackedList:
    """The list over `shm`, whose bytes it lays out or finds laid out: what ShareableList is made of."""

    shm: Any
    _list_len: int
    _allocated_offsets: list[int]

    _types_mapping: Final[dict[type, str]] = {
        int: "q",
        float: "d",
        bool: "xxxxxxx?",
        str: "%ds",
        bytes: "%ds",
        type(None): "xxxxxx?x",
    }

    __class_getitem__: Any = classmethod(GenericAlias)

    def _lay_out(self, values: Iterable[Any], make: Callable[[int], Any]) -> None:
        """Pack the values into the segment that `make` makes. Values that do not fit in a list make none."""
        items = list(values)
        formats = [self._format_of(item) for item in items]
        sizes = [struct.calcsize(each) for each in formats]
        self._measure(len(items), [0, *accumulate(sizes)])
        data = b"".join(struct.pack(each, _encoded(item)) for each, item in zip(formats, items, strict=True))
        packed = b"".join(
            (
                struct.pack(f"{len(items) + 2}q", len(items), *self._allocated_offsets),
                data,
                *(_FORMAT.pack(each.encode()) for each in formats),
                bytes(map(_kind, items)),
            )
        )
        self.shm = make(len(packed))
        self.shm.buf[: len(packed)] = packed

    def _find(self, shm: Any) -> None:
        """Take up the list that is in a segment."""
        self.shm = shm
        count = len(self)
        self._measure(count, list(struct.unpack_from(f"{count + 1}q", shm.buf, WORD)))

    def _measure(self, count: int, offsets: list[int]) -> None:
        self._list_len, self._allocated_offsets = count, offsets
        self._data_at = (count + 2) * WORD
        self._formats_at = self._data_at + offsets[-1]
        self._kinds_at = self._formats_at + count * WORD

    def _format_of(self, value: Any) -> str:
        found = self._types_mapping[type(value)]
        if isinstance(value, str | bytes):
            # By its characters, as the standard library; more where the bytes of these would be cut.
            needed = -(-len(_encoded(value)) // WORD)
            found %= WORD * max(len(value) // WORD + 1, needed)
            if len(found) > WORD:
                raise ValueError(f"a str or bytes of {len(value)} is too long for a ShareableList")
        return found

    # ---- one value ---------------------------------------------------------------

    def _place(self, position: int, error: str) -> int:
        """The index that a position means."""
        index = position if position >= 0 else position + self._list_len
        if not 0 <= index < self._list_len:
            raise IndexError(error)
        return index

    def _get_packing_format(self, position: int) -> str:
        """Struct's format of one value."""
        index = self._place(position, "Requested position out of range.")
        (found,) = _FORMAT.unpack_from(self.shm.buf, self._formats_at + index * WORD)
        return str(found.rstrip(b"\0").decode())

    def __getitem__(self, position: int) -> Any:
        index = self._place(position, "index out of range")
        at = self._data_at + self._allocated_offsets[index]
        (value,) = struct.unpack_from(self._get_packing_format(index), self.shm.buf, at)
        return _UNPACKED[self.shm.buf[self._kinds_at + index]](value)

    def __setitem__(self, position: int, value: Any) -> None:
        index = self._place(position, "assignment index out of range")
        offset, end = self._allocated_offsets[index : index + 2]
        encoded = _encoded(value)
        if not isinstance(value, str | bytes):
            new = self._types_mapping[type(value)]
        elif len(encoded) > end - offset:
            raise ValueError("bytes/str item exceeds available storage")
        else:
            current = self._get_packing_format(index)
            new = current if current[-1] == "s" else f"{end - offset}s"
        packed = struct.pack(new, encoded)  # before anything has changed
        buf, at = self.shm.buf, self._data_at + offset
        _FORMAT.pack_into(buf, self._formats_at + index * WORD, new.encode())
        buf[self._kinds_at + index] = _kind(value)
        buf[at : at + len(packed)] = packed

    # ---- all of them -------------------------------------------------------------

    def __len__(self) -> int:
        (found,) = struct.unpack_from("q", self.shm.buf, 0)
        return int(found)

    def __iter__(self) -> Iterator[Any]:
        for index in range(self._list_len):
            yield self[index]

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({list(self)}, name={self.shm.name!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        kind: Any = self.__class__
        return partial(kind, name=self.shm.name), ()

    @property
    def format(self) -> str:
        """Struct's formats of all values, in order."""
        return "".join(map(self._get_packing_format, range(self._list_len)))

    def count(self, value: Any) -> int:
        """How many of the values are equal to this one."""
        return sum(value == entry for entry in self)

    def index(self, value: Any) -> int:
        """The first place of a value; ValueError when it is nowhere."""
        for index, entry in enumerate(self):
            if value == entry:
                return index
        raise ValueError(f"{value!r} not in this container")
