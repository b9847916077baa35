"""`dict` and `Namespace`."""

from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    MutableMapping,
    ValuesView,
)
from typing import Any, TypeVar, cast

from procession import _native
from procession._shared.containers import texts
from procession._shared.containers.base import Face

KEYS, VALUES, ITEMS = range(3)

K = TypeVar("K")
V = TypeVar("V")


class Keys(KeysView[K]):
    """The keys; iterates over those that there are when the iteration begins."""

    _mapping: Any

    def __iter__(self) -> Iterator[K]:
        return cast("Iterator[K]", self._mapping._iterate(KEYS, False))

    def __reversed__(self) -> Iterator[K]:
        return cast("Iterator[K]", self._mapping._iterate(KEYS, True))

    def __repr__(self) -> str:
        return f"dict_keys({list(self)!r})"


class Values(ValuesView[V]):
    """The values; iterates over those that there are when the iteration begins."""

    _mapping: Any

    def __iter__(self) -> Iterator[V]:
        return cast("Iterator[V]", self._mapping._iterate(VALUES, False))

    def __reversed__(self) -> Iterator[V]:
        return cast("Iterator[V]", self._mapping._iterate(VALUES, True))

    def __contains__(self, value: object) -> bool:
        return any(value is one or value == one for one in self)

    def __repr__(self) -> str:
        return f"dict_values({list(self)!r})"


class Items(ItemsView[K, V]):
    """The pairs; iterates over those that there are when the iteration begins."""

    _mapping: Any

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return cast("Iterator[tuple[K, V]]", self._mapping._iterate(ITEMS, False))

    def __reversed__(self) -> Iterator[tuple[K, V]]:
        return cast("Iterator[tuple[K, V]]", self._mapping._iterate(ITEMS, True))

    def __repr__(self) -> str:
        return f"dict_items({list(self)!r})"


class SharedDict(Face, _native.Dict, MutableMapping[K, V]):
    """A dict that every process of the family reads and writes.

    Reading takes no lock and waits for nobody; writing takes one for some tens of
    nanoseconds. Values are stored as they are at that moment: what is got is a copy, and changing it changes
    nothing here. Containers of this module are stored as themselves. An iteration goes over what was there
    when it began. A process that is killed at any point leaves the change it was making either done or not
    begun, and holds nobody up. MemoryError leaves the dict as it was.
    """

    __module__ = "procession.shared"
    __slots__ = ()

    def __init__(self, items: Mapping[K, V] | Iterable[tuple[K, V]] = (), /, **named: V) -> None:
        """As `dict`."""
        if items or named:
            self.update(items, **named)

    def __iter__(self) -> Iterator[K]:
        return cast("Iterator[K]", self._iterate(KEYS, False))

    def __reversed__(self) -> Iterator[K]:
        return cast("Iterator[K]", self._iterate(KEYS, True))

    def keys(self) -> Keys[K]:
        """A view of the keys."""
        return Keys(self)

    def values(self) -> Values[V]:
        """A view of the values."""
        return Values(self)

    def items(self) -> Items[K, V]:
        """A view of the pairs."""
        return Items(self)

    def popitem(self) -> tuple[K, V]:
        """Take out the pair that was put in last; KeyError when there is none."""
        try:
            return cast("tuple[K, V]", self._pop_last())
        except KeyError:
            raise KeyError("popitem(): dictionary is empty") from None

    def update(self, *args: Any, **named: Any) -> Any:
        """`update(mapping_or_pairs, **named)` as `dict.update`, one change for each key.

        `update(key, fn)` puts `fn(value)` in the place of the key's value, and returns it: nobody else changes the
        dict meanwhile, and `fn` is called once. KeyError when the key is not there.
        """
        if len(args) == 2 and callable(args[1]) and not named:
            return self._apply(*args)
        if len(args) > 1:
            raise TypeError(f"update expected at most 1 argument, got {len(args)}")
        for key, value in dict(*args, **named).items():
            self[key] = value
        return None

    def _apply(self, key: K, fn: Callable[[V], V]) -> V:
        with self.lock():
            value = self[key] = fn(self[key])
            return value

    def copy(self) -> dict[K, V]:
        """A plain dict of what is here now, at one instant."""
        return cast("dict[K, V]", self._iterate(ITEMS, False)._dict())

    __copy__ = copy

    def __deepcopy__(self, memo: object) -> dict[K, V]:
        return self.copy()

    @classmethod
    def fromkeys(cls, keys: Iterable[K], value: Any = None, /) -> "SharedDict[K, V]":
        """A new shared dict with these keys, each with this value."""
        made = cls()
        for key in keys:
            made[key] = value
        return made

    def __eq__(self, other: object) -> bool:
        if isinstance(other, SharedDict):
            return other is self or self.copy() == other.copy()
        return self.copy() == other if isinstance(other, Mapping) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __or__(self, other: Any) -> dict[Any, Any]:
        return self.copy() | dict(other) if isinstance(other, Mapping) else NotImplemented

    def __ror__(self, other: Any) -> dict[Any, Any]:
        return dict(other) | self.copy() if isinstance(other, Mapping) else NotImplemented

    def __ior__(self, other: Any) -> "SharedDict[K, V]":
        self.update(other)
        return self

    def __repr__(self) -> str:
        return texts.of(self, "shared.dict", self.copy)


class Namespace(Face, _native.Dict):
    """Attributes that every process of the family reads and writes; each as an item of a shared dict."""

    __module__ = "procession.shared"
    __slots__ = ()

    def __init__(self, /, **attributes: Any) -> None:
        """With these attributes."""
        for name, value in attributes.items():
            setattr(self, name, value)

    def __getattribute__(self, name: str) -> Any:
        if name[:1] != "_":  # an attribute comes before a method of its name
            try:
                return _native.Dict.__getitem__(self, name)
            except KeyError:
                return object.__getattribute__(self, name)
        return object.__getattribute__(self, name)

    def __getattr__(self, name: str) -> Any:
        try:
            return _native.Dict.__getitem__(self, name)
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        _native.Dict.__setitem__(self, name, value)

    def __delattr__(self, name: str) -> None:
        try:
            _native.Dict.__delitem__(self, name)
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}") from None

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *self._iterate(KEYS, False)})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Namespace):
            return NotImplemented
        return self._iterate(ITEMS, False)._dict() == other._iterate(ITEMS, False)._dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        attributes = sorted(self._iterate(ITEMS, False))
        return f"Namespace({', '.join(f'{name}={value!r}' for name, value in attributes)})"


SharedDict.__name__ = SharedDict.__qualname__ = "dict"
