"""dict, list, set, Namespace, Value and Array of a manager, as containers in the arena."""

import array
from collections.abc import Iterator
from typing import Any

from procession._serve.arena import ArenaProxy, arena_kind, forward, plain
from procession._serve.kinds import (
    ArrayProxy,
    DictProxy,
    ListProxy,
    Namespace,
    NamespaceProxy,
    SetProxy,
    Value,
    ValueProxy,
)
from procession._shared.containers.dicts import ITEMS, KEYS, VALUES, SharedDict
from procession._shared.containers.dicts import Namespace as SharedNamespace
from procession._shared.containers.lists import SharedList
from procession._shared.containers.sets import SharedSet

# mypy: disable-error-code="override, misc, no-any-return, valid-type"


def _guarded(members: Iterator[Any], referent: Any, kind: str) -> Iterator[Any]:
    """An iteration that ends, as a builtin's does, when the container grows or shrinks."""
    size = len(referent)

    def iterate() -> Iterator[Any]:
        for member in members:
            if len(referent) != size:
                raise RuntimeError(f"{kind} changed size during iteration")
            yield member

    return iterate()


class _Items(ArenaProxy):
    """What a dict and a list have alike."""

    def __getitem__(self, key: Any) -> Any:
        if self._life.value:
            self._refuse()
        return self._referent[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        if self._life.value:
            self._refuse()
        self._referent[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._here()[key]

    def __contains__(self, item: Any) -> bool:
        return item in self._here()

    def __len__(self) -> int:
        return len(self._here())


@arena_kind
class ArenaDict(_Items, DictProxy):
    """A dict."""

    _typeid = "dict"

    _prepare = dict

    @classmethod
    def _build(cls, prepared: Any) -> tuple[Any, ...]:
        return (SharedDict(prepared),)

    def __iter__(self) -> Any:
        referent = self._here()
        return _guarded(referent._iterate(KEYS, False), referent, "dictionary")

    def __reversed__(self) -> Any:
        referent = self._here()
        return _guarded(referent._iterate(KEYS, True), referent, "dictionary")

    get = forward("get")
    setdefault = forward("setdefault")
    pop = forward("pop")
    popitem = forward("popitem")
    clear = forward("clear")
    copy = forward("copy")

    def keys(self) -> Any:
        """A list of the keys."""
        return self._here()._iterate(KEYS, False)._list()

    def values(self) -> Any:
        """A list of the values."""
        return self._here()._iterate(VALUES, False)._list()

    def items(self) -> Any:
        """A list of the pairs."""
        return self._here()._iterate(ITEMS, False)._list()

    def update(self, *args: Any, **kwds: Any) -> None:
        """As `dict.update`, one change for each key."""
        self._here().update(dict(*args, **kwds))

    def fromkeys(self, keys: Any, value: Any = None, /) -> Any:
        """A plain dict with these keys."""
        return dict.fromkeys(keys, value)

    def __or__(self, other: Any) -> Any:
        return self.copy() | plain(other)

    def __ror__(self, other: Any) -> Any:
        return plain(other) | self.copy()

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self

    def _getvalue(self) -> Any:
        return self.copy()

    def _text(self) -> str:
        return repr(self.copy())


@arena_kind
class ArenaList(_Items, ListProxy):
    """A list."""

    _typeid = "list"

    _prepare = list

    @classmethod
    def _build(cls, prepared: Any) -> tuple[Any, ...]:
        return (SharedList(prepared),)

    def __reversed__(self) -> Any:
        return iter(self._here().copy()[::-1])

    append = forward("append")
    insert = forward("insert")
    extend = forward("extend")
    pop = forward("pop")
    remove = forward("remove")
    reverse = forward("reverse")
    sort = forward("sort")
    clear = forward("clear")
    copy = forward("copy")
    count = forward("count")
    index = forward("index")

    def __add__(self, other: Any) -> Any:
        return self.copy() + plain(other)

    def __mul__(self, times: Any) -> Any:
        return self.copy() * times

    __rmul__ = __mul__

    def __imul__(self, times: Any) -> Any:
        referent = self._here()
        referent *= times
        return self

    def _getvalue(self) -> Any:
        return self.copy()

    def _text(self) -> str:
        return repr(self.copy())


def _operator(name: str) -> Any:
    """Of two sets; gives a plain one, or what a comparison gives."""

    def method(self: Any, other: Any) -> Any:
        return getattr(self.copy(), name)(plain(other))

    method.__name__ = method.__qualname__ = name
    return method


def _operator_in_place(name: str, change: str) -> Any:
    def method(self: Any, other: Any) -> Any:
        other = plain(other)
        if not isinstance(other, (set, frozenset)):
            return NotImplemented
        getattr(self._here(), change)(other)
        return self

    method.__name__ = method.__qualname__ = name
    return method


@arena_kind
class ArenaSet(ArenaProxy, SetProxy):
    """A set."""

    _typeid = "set"

    _prepare = set

    @classmethod
    def _build(cls, prepared: Any) -> tuple[Any, ...]:
        return (SharedSet(prepared),)

    def __contains__(self, value: Any) -> bool:
        return value in self._here()

    def __len__(self) -> int:
        return len(self._here())

    def __iter__(self) -> Any:
        referent = self._here()
        return _guarded(referent._iterate(KEYS, False), referent, "Set")

    __and__, __or__, __sub__, __xor__ = map(_operator, ("__and__", "__or__", "__sub__", "__xor__"))
    __rand__, __ror__, __rsub__, __rxor__ = map(_operator, ("__rand__", "__ror__", "__rsub__", "__rxor__"))
    __ge__, __gt__, __le__, __lt__ = map(_operator, ("__ge__", "__gt__", "__le__", "__lt__"))
    __iand__ = _operator_in_place("__iand__", "intersection_update")
    __ior__ = _operator_in_place("__ior__", "update")
    __isub__ = _operator_in_place("__isub__", "difference_update")
    __ixor__ = _operator_in_place("__ixor__", "symmetric_difference_update")
    add = forward("add")
    clear = forward("clear")
    copy = forward("copy")
    difference = forward("difference")
    difference_update = forward("difference_update")
    discard = forward("discard")
    intersection = forward("intersection")
    intersection_update = forward("intersection_update")
    isdisjoint = forward("isdisjoint")
    issubset = forward("issubset")
    issuperset = forward("issuperset")
    pop = forward("pop")
    remove = forward("remove")
    symmetric_difference = forward("symmetric_difference")
    symmetric_difference_update = forward("symmetric_difference_update")
    union = forward("union")
    update = forward("update")

    def _getvalue(self) -> Any:
        return self.copy()

    def _text(self) -> str:
        return repr(self.copy())


@arena_kind
class ArenaNamespace(ArenaProxy, NamespaceProxy):
    """Attributes."""

    _typeid = "Namespace"

    @staticmethod
    def _prepare(**kwds: Any) -> Any:
        return kwds

    @classmethod
    def _build(cls, prepared: Any) -> tuple[Any, ...]:
        return (SharedNamespace(**prepared),)

    def __getattr__(self, key: str) -> Any:
        if key[0] == "_":
            return object.__getattribute__(self, key)
        return getattr(self._here(), key)  # an attribute comes before a method of its name

    def __setattr__(self, key: str, value: Any) -> None:
        if key[0] == "_":
            object.__setattr__(self, key, value)
        else:
            setattr(self._here(), key, value)

    def __delattr__(self, key: str) -> None:
        if key[0] == "_":
            object.__delattr__(self, key)
        else:
            delattr(self._here(), key)

    def _method(self, name: str) -> Any:
        method = super()._method(name)
        return self.__getattr__ if name == "__getattribute__" else method

    def _getvalue(self) -> Any:
        return Namespace(**self._here()._iterate(ITEMS, False)._dict())

    def _text(self) -> str:
        return repr(self._getvalue())


@arena_kind
class ArenaValue(ArenaProxy, ValueProxy):
    """One value of any type."""

    _typeid = "Value"

    @staticmethod
    def _prepare(typecode: Any, value: Any, lock: Any = True) -> Any:  # noqa: ARG004  theirs
        return typecode, value

    @classmethod
    def _build(cls, prepared: Any) -> tuple[Any, ...]:
        typecode, value = prepared
        return SharedList([value]), typecode

    def get(self) -> Any:
        """The value."""
        return self._here()[0]

    def set(self, value: Any) -> None:
        """Have another value."""
        self._here()[0] = value

    value = property(get, lambda self, value: self.set(value))

    def _getvalue(self) -> Any:
        return Value(*self._rest, self.get())

    def _text(self) -> str:
        return repr(self._getvalue())


@arena_kind
class ArenaArray(ArenaProxy, ArrayProxy):
    """An array of numbers of one type."""

    _typeid = "Array"

    @staticmethod
    def _prepare(typecode: Any, sequence: Any, lock: Any = True) -> Any:  # noqa: ARG004  theirs
        return array.array(typecode, sequence)

    @classmethod
    def _build(cls, prepared: Any) -> tuple[Any, ...]:
        return SharedList(prepared), prepared.typecode

    def _array(self, items: list[Any]) -> Any:
        typecode: Any = self._rest[0]
        return array.array(typecode, items)

    def __len__(self) -> int:
        return len(self._here())

    def __getitem__(self, key: Any) -> Any:
        referent = self._here()
        if isinstance(key, slice):
            return self._array(referent[key])
        try:
            return referent[key]
        except IndexError:
            raise IndexError("array index out of range") from None

    def __setitem__(self, key: Any, value: Any) -> None:
        referent = self._here()
        if isinstance(key, slice):
            if not isinstance(value, array.array):
                raise TypeError(f'can only assign array (not "{type(value).__name__}") to array slice')
            if value.typecode != self._rest[0]:
                raise TypeError("bad argument type for built-in operation")
            referent[key] = value.tolist()
            return
        item = self._array([value])[0]
        try:
            referent[key] = item
        except IndexError:
            raise IndexError("array assignment index out of range") from None

    def _getvalue(self) -> Any:
        return self._array(self._here().copy())

    def _text(self) -> str:
        return repr(self._getvalue())
