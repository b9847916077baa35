"""`set`."""

from collections.abc import Iterable, Iterator, MutableSet
from collections.abc import Set as AbstractSet
from typing import Any, TypeVar, cast

from procession import _native
from procession._shared.containers import texts
from procession._shared.containers.base import Face

T = TypeVar("T")


class SharedSet(Face, _native.Table, MutableSet[T]):
    """A set that every process of the family reads and writes; in the order in which things were added.

    As `shared.dict` in all else: reading takes no lock, an iteration goes over what was there when it began, and
    a process that is killed leaves the change it was making either done or not begun. Members come back as they were
    first put in.
    """

    __module__ = "procession.shared"
    __slots__ = ()

    def __init__(self, members: Iterable[T] = (), /) -> None:
        """As `set`."""
        self.update(members)

    def __iter__(self) -> Iterator[T]:
        return cast("Iterator[T]", self._iterate(0, False))

    def add(self, value: T) -> None:
        """Add a member, if it is not there."""
        self._add(value)

    def discard(self, value: T) -> None:
        """Take a member out, if it is there."""
        self._discard(value)

    def remove(self, value: T) -> None:
        """Take a member out; KeyError when it is not there."""
        if not self._discard(value):
            raise KeyError(value)

    def pop(self) -> T:
        """Take out the member that was added last; KeyError when there is none."""
        try:
            return cast("T", self._pop_last()[0])
        except KeyError:
            raise KeyError("pop from an empty set") from None

    def copy(self) -> set[T]:
        """A plain set of what is here now, at one instant."""
        return set(self._iterate(0, False))

    __copy__ = copy

    def __deepcopy__(self, memo: object) -> set[T]:
        return self.copy()

    @classmethod
    def _from_iterable(cls, members: Iterable[Any]) -> set[Any]:
        # What the operators of collections.abc make of two sets.
        return set(members)

    def update(self, *others: Iterable[T]) -> None:
        """Add all members of all others, one change for each."""
        for other in others:
            for value in _members(other):
                self._add(value)

    def difference_update(self, *others: Iterable[Any]) -> None:
        """Take out all members of all others."""
        for other in others:
            for value in _members(other):
                self._discard(value)

    def intersection_update(self, *others: Iterable[Any]) -> None:
        """Take out what is not in all others."""
        kept = self.copy().intersection(*others)
        for value in self:
            if value not in kept:
                self._discard(value)

    def symmetric_difference_update(self, other: Iterable[T]) -> None:
        """Take out what is in both, add what is only in the other."""
        for value in set(other):
            if not self._discard(value):
                self._add(value)

    def union(self, *others: Iterable[Any]) -> set[Any]:
        """A plain set of the members of all."""
        return self.copy().union(*others)

    def intersection(self, *others: Iterable[Any]) -> set[T]:
        """A plain set of what is in all."""
        return self.copy().intersection(*others)

    def difference(self, *others: Iterable[Any]) -> set[T]:
        """A plain set of what is in none of the others."""
        return self.copy().difference(*others)

    def symmetric_difference(self, other: Iterable[Any]) -> set[Any]:
        """A plain set of what is in one of the two only."""
        return self.copy().symmetric_difference(other)

    def issubset(self, other: Iterable[Any]) -> bool:
        """Whether all members are in the other."""
        return self.copy().issubset(other)

    def issuperset(self, other: Iterable[Any]) -> bool:
        """Whether all of the other's members are here."""
        return self.copy().issuperset(other)

    def isdisjoint(self, other: Iterable[Any]) -> bool:
        """Whether no member is in the other."""
        return self.copy().isdisjoint(other)

    def __eq__(self, other: object) -> bool:
        return self.copy() == set(other) if isinstance(other, AbstractSet) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return texts.of(self, "shared.set", self.copy)


def _members(other: Iterable[Any]) -> Iterable[Any]:
    return other.copy() if isinstance(other, SharedSet) else list(other)


SharedSet.__name__ = SharedSet.__qualname__ = "set"
