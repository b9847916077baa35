"""`list`."""

from collections.abc import Callable, Iterable, Iterator, MutableSequence
from typing import Any, SupportsIndex, TypeVar, cast

from procession import _native
from procession._shared.containers import texts
from procession._shared.containers.base import Face

T = TypeVar("T")

_TRIES = 8  # so often a sort that others foil is tried before it excludes them


class SharedList(Face, _native.List, MutableSequence[T]):
    """A list that every process of the family reads and writes.

    Reading takes no lock and waits for nobody. Setting an item, `append` and `pop()` cost the same however long
    the list is; what moves items (`insert`, `del`, slices, `sort`) writes eight bytes for each item that there is. Every
    method is one change: others see all of it or nothing. Items are stored as they are at that moment:
    what is got is a copy. Containers of this module are stored as themselves. A process that is
    killed at any point leaves the change it was making either done or not begun. MemoryError leaves the list as it was.
    """

    __module__ = "procession.shared"
    __slots__ = ()

    def __init__(self, items: Iterable[T] = (), /) -> None:
        """As `list`."""
        self.extend(items)

    def __iter__(self) -> Iterator[T]:
        return cast("Iterator[T]", self._iterate(False))

    def __reversed__(self) -> Iterator[T]:
        return cast("Iterator[T]", self._iterate(True))

    def __contains__(self, value: object) -> bool:
        return any(one is value or one == value for one in self)

    def extend(self, items: Iterable[T]) -> None:
        """Append all items at once."""
        self._extend(list(items))

    def remove(self, value: T) -> None:
        """Take the first item out that equals `value`; ValueError when there is none."""
        while True:
            items = self._iterate(False)
            words = items._words()
            place = next((at for at, one in enumerate(items) if one is value or one == value), None)
            if place is None:
                raise ValueError("list.remove(x): x not in list")
            if self._remove(place, words[place]):
                return

    def index(self, value: Any, start: SupportsIndex = 0, stop: SupportsIndex | None = None) -> int:
        """The place of the first item that equals `value`; ValueError when there is none."""
        return self.copy().index(value, start, len(self) if stop is None else stop)

    def count(self, value: Any) -> int:
        """How many items equal `value`."""
        return self.copy().count(value)

    def sort(self, *, key: Callable[[T], Any] | None = None, reverse: bool = False) -> None:
        """Sort as `list.sort`, in one change. When others change the list meanwhile it is sorted again."""
        for _ in range(_TRIES):
            if self._try_sort(key, reverse):
                return
        with self.lock():
            self._try_sort(key, reverse)

    def _try_sort(self, key: Callable[[T], Any] | None, reverse: bool) -> bool:
        items = self._iterate(False)
        words, values = items._words(), list(items)
        keys: list[Any] = values if key is None else [key(value) for value in values]
        order = sorted(range(len(keys)), key=keys.__getitem__, reverse=reverse)
        return self._permute(words, order)

    def copy(self) -> list[T]:
        """A plain list of what is here now, at one instant."""
        return self._iterate(False)._list()

    __copy__ = copy

    def __deepcopy__(self, memo: object) -> list[T]:
        return self.copy()

    def __eq__(self, other: object) -> bool:
        plain = _plain(other)
        return NotImplemented if plain is None else other is self or self.copy() == plain

    __hash__ = None  # type: ignore[assignment]

    def __lt__(self, other: Any) -> bool:
        plain = _plain(other)
        return NotImplemented if plain is None else self.copy() < plain

    def __le__(self, other: Any) -> bool:
        plain = _plain(other)
        return NotImplemented if plain is None else self.copy() <= plain

    def __gt__(self, other: Any) -> bool:
        plain = _plain(other)
        return NotImplemented if plain is None else self.copy() > plain

    def __ge__(self, other: Any) -> bool:
        plain = _plain(other)
        return NotImplemented if plain is None else self.copy() >= plain

    def __add__(self, other: Any) -> list[T]:
        plain = _plain(other)
        return NotImplemented if plain is None else self.copy() + plain

    def __radd__(self, other: Any) -> list[T]:
        plain = _plain(other)
        return NotImplemented if plain is None else plain + self.copy()

    def __iadd__(self, other: Iterable[T]) -> "SharedList[T]":  # type: ignore[misc]
        self.extend(other)
        return self

    def __mul__(self, times: SupportsIndex) -> list[T]:
        return self.copy() * times

    __rmul__ = __mul__

    def __imul__(self, times: SupportsIndex) -> "SharedList[T]":
        with self.lock():
            items = self.copy() * times
            if items:
                self.extend(items[len(self) :])
            else:
                self.clear()
        return self

    def __repr__(self) -> str:
        return texts.of(self, "shared.list", self.copy)


def _plain(other: object) -> list[Any] | None:
    if isinstance(other, SharedList):
        return other.copy()
    return other if isinstance(other, list) else None


SharedList.__name__ = SharedList.__qualname__ = "list"
