"""How a frozen graph lies in its Buffer, and how it gets there.

    start of the data | the root's word | nodes, 8-byte aligned ... | data, 64-byte aligned ...

A word is a value, or says where it lies:

    offset            a node (a multiple of 8)
    number << 3 | 1   an int of up to 61 bits
    which << 3 | 2    None, True, False

A node is `length << 8 | tag`, and then by its tag

    INT FLOAT COMPLEX STR BYTES    so many bytes
    TUPLE LIST                     a word for each item
    DICT SET FROZENSET             mask | (hash, form, key[, value]) in order | a u32 for each place of the index
    BUFFER                         bytes and their place in the data
    ARRAY                          place in the data, is it Fortran's order, a STR of its dtype, its shape

Members are found by the bytes that all equals of a key share, as in the other containers; `form` is
a BYTES node of them, 0 for a str, whose own bytes they are. What is in a graph twice lies there once.
"""

import enum
import struct
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final
from zlib import crc32

from procession import _native

INT, FLOAT, COMPLEX, STR, BYTES, TUPLE, LIST, DICT, SET, FROZENSET, BUFFER, ARRAY = range(1, 13)
CONSTANTS: Final = (None, True, False)
HEADER: Final = 16
LINE: Final = 64
SMALL: Final = 1 << 60
_GRAPHS: Final = frozenset({list, tuple, dict, set, frozenset})
_ITEM, _KEY = "[{!r}]", " (the key {!r})"

word = struct.Struct("<q")
node = struct.Struct("<Q")


def kind_and_length(view: memoryview, at: int) -> tuple[int, int]:
    """A node's tag and length."""
    (head,) = node.unpack_from(view, at)
    return head & 0xFF, head >> 8


def words(view: memoryview, at: int, count: int) -> tuple[int, ...]:
    """So many words."""
    return struct.unpack_from(f"<{count}q", view, at)


class Builder:
    """Lays a graph out; `finish` puts it into the arena."""

    def __init__(self, aliens: Callable[[Any], Any]) -> None:
        """`aliens` makes one of the plain types of what is none, or gives back the same."""
        self._nodes = bytearray(HEADER)
        self._data: list[tuple[int, memoryview]] = []
        self._data_end = 0
        self._aliens = aliens
        self._plain: dict[tuple[type, Any], int] = {}
        self._known: dict[int, int | None] = {}
        self._alive: list[Any] = []
        self._path: list[tuple[str, Any]] = []

    def finish(self, obj: Any) -> _native.Memory:
        """The Buffer with the graph in it."""
        root = self.put(obj)
        start = -(-len(self._nodes) // LINE) * LINE
        self._nodes[:HEADER] = struct.pack("<qq", start, root)
        memory = _native.Memory._buffer(start + self._data_end)
        with memoryview(memory) as view:
            view[: len(self._nodes)] = self._nodes
            for at, content in self._data:
                view[start + at : start + at + content.nbytes] = content
        return memory

    def put(self, obj: Any) -> int:
        """The word of a value; what it lies in has been written."""
        kind = type(obj)
        if obj is None or kind is bool:
            return CONSTANTS.index(obj) << 3 | 2
        if kind is int and -SMALL <= obj < SMALL:
            return obj << 3 | 1  # type: ignore[no-any-return]
        if kind in _PLAIN:
            return self._put_plain(kind, obj)
        key = id(obj)
        known = self._known.get(key, 0)
        if known is None:
            raise ValueError(f"{self._where()} contains itself: only trees and what they share can be frozen")
        if not known:
            self._known[key] = None
            known = self._known[key] = self._put_graph(obj)
            self._alive.append(obj)  # so that its identity stays its own
        return known

    def _where(self) -> str:
        return "obj" + "".join(words.format(key) for words, key in self._path)

    def _node(self, tag: int, length: int, content: bytes) -> int:
        at = len(self._nodes)
        self._nodes += node.pack(length << 8 | tag)
        self._nodes += content
        self._nodes += bytes(-len(self._nodes) % 8)
        return at

    def _put_plain(self, kind: type, obj: Any) -> int:
        tag, encode = _PLAIN[kind]
        content = encode(obj)
        key = (kind, content)
        at = self._plain.get(key)
        if at is None:
            at = self._plain[key] = self._node(tag, len(content), content)
        return at

    def _put_graph(self, obj: Any) -> int:
        if type(obj) not in _GRAPHS:
            for kind in _PLAIN:
                # A subclass is what it is an instance of, unless its values are names for something else.
                if isinstance(obj, kind) and not isinstance(obj, enum.Enum):
                    return self.put(kind(obj) if kind is not str else str.__str__(obj))
        if isinstance(obj, (list, tuple)):
            items = [self._within(_ITEM, index, item) for index, item in enumerate(obj)]
            tag = LIST if isinstance(obj, list) else TUPLE
            return self._node(tag, len(items), struct.pack(f"<{len(items)}q", *items))
        if isinstance(obj, Mapping):
            pairs = [(key, self._within(_ITEM, key, value)) for key, value in obj.items()]
            return self._put_members(DICT, pairs)
        if isinstance(obj, AbstractSet):
            tag = FROZENSET if isinstance(obj, frozenset) else SET
            return self._put_members(tag, [(key, None) for key in obj])
        if isinstance(obj, (bytearray, memoryview)):
            view = memoryview(obj)
            place = self._put_data(view.cast("B") if view.c_contiguous else view.tobytes())
            return self._node(BUFFER, len(place), struct.pack("<2q", *place))
        made = self._aliens(obj)
        if isinstance(made, AlienArray):
            content = b"".join(
                map(word.pack, (self._put_data(made.content)[1], made.is_fortran, self.put(made.dtype)))
            )
            return self._node(
                ARRAY, len(made.shape), content + struct.pack(f"<{len(made.shape)}q", *made.shape)
            )
        if made is not obj:
            return self.put(made)
        raise TypeError(
            f"{self._where()} is of {type(obj).__name__!r}, which cannot be frozen: use dicts, lists, tuples, sets, str, "
            "bytes, numbers, None, buffers and numpy arrays"
        )

    def _within(self, step: str, key: Any, obj: Any) -> int:
        self._path.append((step, key))
        at = self.put(obj)
        self._path.pop()
        return at

    def _put_data(self, content: Any) -> tuple[int, int]:
        view = memoryview(content)
        at = self._data_end
        self._data.append((at, view))
        self._data_end = -(-(at + view.nbytes) // LINE) * LINE
        return view.nbytes, at

    def _put_members(self, tag: int, pairs: Iterable[tuple[Any, int | None]]) -> int:
        rows: dict[bytes, list[int]] = {}
        for key, value in pairs:
            try:
                form = _native.encode_key(key)
            except TypeError as refusal:
                raise TypeError(f"{self._where()} has the key {key!r}: {refusal}") from None
            stored = 0 if form[:1] == b"s" and type(key) is str else self._put_plain(bytes, form)
            row = [crc32(form), stored, self._within(_KEY, key, key)]
            rows[form] = row if value is None else [*row, value]
        places = 8
        while places < 2 * len(rows):
            places *= 2
        index = [0] * places
        for number, form in enumerate(rows, 1):
            at = crc32(form) & places - 1
            while index[at]:
                at = at + 1 & places - 1
            index[at] = number
        flat = [places - 1, *(field for row in rows.values() for field in row)]
        return self._node(tag, len(rows), struct.pack(f"<{len(flat)}q{places}I", *flat, *index))


class AlienArray:
    """What has to be known of a numpy array."""

    def __init__(self, content: memoryview, dtype: str, shape: tuple[int, ...], *, is_fortran: bool) -> None:
        self.content, self.dtype, self.shape, self.is_fortran = content, dtype, shape, is_fortran


def _integer(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)


_PLAIN: Final[dict[type, tuple[int, Callable[[Any], bytes]]]] = {
    str: (STR, lambda text: text.encode("utf-8", "surrogatepass")),
    bytes: (BYTES, bytes),
    int: (INT, _integer),
    float: (FLOAT, struct.Struct("<d").pack),
    complex: (COMPLEX, lambda value: struct.pack("<2d", value.real, value.imag)),
}


def find(view: memoryview, at: int, fields: int, form: bytes) -> int:
    """Where the row of a member lies, by the form of its key; 0 when there is none."""
    _, count = kind_and_length(view, at)
    mask: int = word.unpack_from(view, at + 8)[0]
    rows: int = at + 16
    wanted = crc32(form)
    index = rows + count * fields * 8
    place = wanted & mask
    while number := struct.unpack_from("<I", view, index + place * 4)[0]:
        row = rows + (number - 1) * fields * 8
        found, stored, key = words(view, row, 3)
        if found == wanted and _is_form(view, stored, key, form):
            return int(row)
        place = place + 1 & mask
    return 0


def _is_form(view: memoryview, stored: int, key: int, form: bytes) -> bool:
    at = stored or key
    _, length = kind_and_length(view, at)
    content = view[at + 8 : at + 8 + length]
    return content == form if stored else form[:1] == b"s" and content == form[1:]
