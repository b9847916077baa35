"""Frozen graphs as Python sees them: mappings, sequences and sets that decode what is asked for."""

import ast
import struct
from collections.abc import ItemsView, Iterator, Mapping, Sequence, ValuesView
from collections.abc import Set as AbstractSet
from importlib import import_module
from typing import Any, ClassVar, Generic, Self, SupportsIndex, TypeVar, cast, overload

from procession import _native
from procession._shared import handles
from procession._shared.frozen import layout

K = TypeVar("K")
V_co = TypeVar("V_co", covariant=True)


class Frozen:
    """What all frozen objects share: they are a place in a Buffer, travel as that, and keep it."""

    __slots__ = ("_at", "_length", "_memory", "_view")
    __module__ = "procession.shared"
    _memory: _native.Memory
    _view: memoryview
    _at: int
    _length: int

    def __new__(cls) -> Self:
        raise TypeError(f"{cls.__name__} objects are made by freeze()")

    @classmethod
    def _over(cls, memory: _native.Memory, view: memoryview, at: int) -> Self:
        made = object.__new__(cls)
        made._memory, made._view, made._at = memory, view, at
        _, made._length = layout.kind_and_length(view, at)
        return made

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        return f"shared.freeze({self.thaw()!r})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _open, (*handles.reduce(self._memory), self._at)

    def thaw(self) -> Any:
        """The same as Python's own objects, copied: what can be changed."""
        raise NotImplementedError

    def _value(self, word: int) -> Any:
        kind = word & 7
        if kind == 1:
            return word >> 3
        if kind == 2:
            return layout.CONSTANTS[word >> 3]
        return decode(self._memory, self._view, word)


class FrozenDict(Frozen, Mapping[K, V_co], Generic[K, V_co]):
    """A dict that nobody changes, in its order. Its keys are Python's own objects."""

    __slots__ = ()
    __module__ = "procession.shared"
    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __getitem__(self, key: K) -> V_co:
        row = self._find(key)
        if not row:
            raise KeyError(key)
        return cast("V_co", self._value(layout.word.unpack_from(self._view, row + 24)[0]))

    def __contains__(self, key: object) -> bool:
        return bool(self._find(key))

    def _find(self, key: object) -> int:
        hash(key)
        try:
            form = _native.encode_key(key)
        except TypeError:
            return 0  # nothing like it can be a key
        return layout.find(self._view, self._at, 4, form)

    def __iter__(self) -> Iterator[K]:
        for key, _ in self._pairs():
            yield thawed(self._value(key))

    def items(self) -> ItemsView[K, V_co]:
        """A view of the pairs."""
        return FrozenItems(self)

    def values(self) -> ValuesView[V_co]:
        """A view of the values."""
        return FrozenValues(self)

    def _pairs(self) -> Iterator[tuple[int, int]]:
        """The words of keys and values, in their order."""
        for row in range(self._at + 16, self._at + 16 + self._length * 32, 32):
            key, value = layout.words(self._view, row + 16, 2)
            yield key, value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        return len(self) == len(other) and all(
            key in other and other[key] == value for key, value in self.items()
        )

    def __or__(self, other: Mapping[Any, Any]) -> dict[Any, Any]:
        return {**self, **other}

    def thaw(self) -> dict[K, V_co]:
        """A dict, and so on inside."""
        return {key: thawed(value) for key, value in self.items()}


class FrozenItems(ItemsView[K, V_co]):
    """The pairs of a frozen dict, without a look-up for each."""

    _mapping: FrozenDict[K, V_co]

    def __iter__(self) -> Iterator[tuple[K, V_co]]:
        frozen = self._mapping
        for key, value in frozen._pairs():
            yield thawed(frozen._value(key)), frozen._value(value)


class FrozenValues(ValuesView[V_co]):
    """The values of a frozen dict."""

    _mapping: FrozenDict[Any, V_co]

    def __iter__(self) -> Iterator[V_co]:
        frozen = self._mapping
        for _, value in frozen._pairs():
            yield frozen._value(value)


class FrozenSet(Frozen, AbstractSet[K], Generic[K]):
    """A set that nobody changes. Its members are Python's own objects."""

    __slots__ = ()
    __module__ = "procession.shared"

    @classmethod
    def _from_iterable(cls, members: Any) -> Any:
        return frozenset(members)

    def __contains__(self, key: object) -> bool:
        hash(key)
        try:
            form = _native.encode_key(key)
        except TypeError:
            return False
        return bool(layout.find(self._view, self._at, 3, form))

    def __iter__(self) -> Iterator[K]:
        for row in range(self._at + 16, self._at + 16 + self._length * 24, 24):
            yield thawed(self._value(layout.word.unpack_from(self._view, row + 16)[0]))

    def __hash__(self) -> int:
        return hash(frozenset(self))

    def thaw(self) -> "set[K] | frozenset[K]":
        """A set, or a frozenset if it was one."""
        is_frozen = layout.kind_and_length(self._view, self._at)[0] == layout.FROZENSET
        return frozenset(self) if is_frozen else set(self)


class FrozenSequence(Frozen, Sequence[V_co], Generic[V_co]):  # noqa: PLW1641  its subclasses say which is hashable
    """What frozen lists and tuples share."""

    __slots__ = ()
    __module__ = "procession.shared"
    _plain: ClassVar[type] = tuple

    @overload
    def __getitem__(self, index: SupportsIndex) -> V_co: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[V_co]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._plain(self._at_index(at) for at in range(self._length)[index])
        return self._at_index(range(self._length)[index])

    def _at_index(self, index: int) -> Any:
        return self._value(layout.word.unpack_from(self._view, self._at + 8 + index * 8)[0])

    def __iter__(self) -> Iterator[V_co]:
        for word in layout.words(self._view, self._at + 8, self._length):
            yield self._value(word)

    def _is_like(self, other: object) -> bool:
        return isinstance(other, (self._plain, type(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or not self._is_like(other):
            return NotImplemented
        return len(self) == len(other) and all(
            mine == theirs for mine, theirs in zip(self, other, strict=True)
        )

    def __lt__(self, other: Any) -> bool:
        return self._plain(self) < self._plain(other) if self._is_like(other) else NotImplemented

    def __le__(self, other: Any) -> bool:
        return self._plain(self) <= self._plain(other) if self._is_like(other) else NotImplemented

    def __gt__(self, other: Any) -> bool:
        return self._plain(self) > self._plain(other) if self._is_like(other) else NotImplemented

    def __ge__(self, other: Any) -> bool:
        return self._plain(self) >= self._plain(other) if self._is_like(other) else NotImplemented

    def __add__(self, other: Any) -> Any:
        return self._plain([*self, *other]) if self._is_like(other) else NotImplemented

    def __radd__(self, other: Any) -> Any:
        return self._plain([*other, *self]) if self._is_like(other) else NotImplemented

    def __mul__(self, times: int) -> Any:
        return self._plain(self) * times

    def thaw(self) -> Any:
        """A list or a tuple, as it was, and so on inside."""
        return self._plain(map(thawed, self))


class FrozenList(FrozenSequence[V_co]):
    """A list that nobody changes."""

    __slots__ = ()
    __module__ = "procession.shared"
    __hash__: ClassVar[None]  # type: ignore[assignment]
    _plain = list


class FrozenTuple(FrozenSequence[V_co]):
    """A tuple in shared memory."""

    __slots__ = ()
    __module__ = "procession.shared"

    def __hash__(self) -> int:
        return hash(tuple(self))


_FACES: dict[int, type[Frozen]] = {
    layout.LIST: FrozenList,
    layout.TUPLE: FrozenTuple,
    layout.DICT: FrozenDict,
    layout.SET: FrozenSet,
    layout.FROZENSET: FrozenSet,
}


def decode(memory: _native.Memory, view: memoryview, at: int) -> Any:
    """What lies at a node."""
    tag, length = layout.kind_and_length(view, at)
    if tag in _FACES:
        return _FACES[tag]._over(memory, view, at)
    content = view[at + 8 : at + 8 + length]
    if tag == layout.STR:
        return str(content, "utf-8", "surrogatepass")
    if tag == layout.BYTES:
        return bytes(content)
    if tag == layout.FLOAT:
        return struct.unpack("<d", content)[0]
    if tag == layout.INT:
        return int.from_bytes(content, "little", signed=True)
    if tag == layout.COMPLEX:
        return complex(*struct.unpack("<2d", content))
    (data,) = layout.word.unpack_from(view, 0)
    if tag == layout.BUFFER:
        nbytes, place = layout.words(view, at + 8, 2)
        return view[data + place : data + place + nbytes]
    if tag == layout.ARRAY:
        place, is_fortran, dtype, *shape = layout.words(view, at + 8, 3 + length)
        descr = ast.literal_eval(decode(memory, view, dtype))
        make = import_module("procession._shared.ndarrays").frozen
        return make(memory, tuple(shape), descr, start=data + place, order="F" if is_fortran else "C")
    raise ValueError(f"nothing that was frozen lies at {at}")


def thawed(value: Any) -> Any:
    """The same, changeable."""
    if isinstance(value, Frozen):
        return value.thaw()
    if isinstance(value, memoryview):
        return bytearray(value)
    copy = getattr(value, "copy", None)  # an array's; nothing else that is decoded has one
    return value if copy is None else copy()


def over(memory: _native.Memory, word: int | None = None) -> Any:
    """What a Buffer holds, or a part of it."""
    memory = memory._read_only()
    view = memoryview(memory)
    if word is None:
        _, word = layout.words(view, 0, 2)
    return decode(memory, view, word)


def _open(opener: Any, arguments: tuple[Any, ...], at: int) -> Any:
    return over(opener(*arguments), at)
