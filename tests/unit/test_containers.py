"""Shared containers are like the builtins: state machines against plain ones, keys, representations, limits."""

import copy
import datetime as dt
import enum
import gc
import os
import pathlib
import pickle
import subprocess
import sys
import types
import uuid
import zoneinfo
from collections.abc import Mapping, MutableMapping, MutableSequence, MutableSet
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from procession import _native, shared

KEYS = st.one_of(
    st.integers(-3, 3), st.sampled_from(["a", "b", "", "ü", None, True, 1.0, 0.5, b"a", (1, "a"), 2**80])
)
VALUES = st.one_of(st.integers(), st.text(max_size=5), st.floats(allow_nan=False), st.lists(st.booleans()))
MACHINES = settings(max_examples=25, stateful_step_count=30, deadline=None, database=None)


class Colour(enum.Enum):
    RED = 1


class DictMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.shared, self.plain = shared.dict(), {}

    @rule(key=KEYS, value=VALUES)
    def set(self, key, value):
        self.shared[key] = self.plain[key] = value

    @rule(key=KEYS)
    def delete(self, key):
        both(lambda d: d.__delitem__(key), self.shared, self.plain)

    @rule(key=KEYS, value=VALUES)
    def setdefault(self, key, value):
        both(lambda d: d.setdefault(key, value), self.shared, self.plain)

    @rule(key=KEYS)
    def pop(self, key):
        both(lambda d: d.pop(key), self.shared, self.plain)
        both(lambda d: d.pop(key, 7), self.shared, self.plain)

    @rule()
    def popitem(self):
        both(lambda d: d.popitem(), self.shared, self.plain)

    @rule(items=st.dictionaries(KEYS, VALUES, max_size=4))
    def update(self, items):
        self.shared.update(items)
        self.plain.update(items)

    @rule()
    def clear(self):
        self.shared.clear()
        self.plain.clear()

    @rule(key=KEYS)
    def get(self, key):
        assert self.shared.get(key, "none") == self.plain.get(key, "none")
        assert (key in self.shared) == (key in self.plain)
        both(lambda d: d[key], self.shared, self.plain)

    @invariant()
    def is_equal(self):
        assert self.shared == self.plain
        assert list(self.shared) == list(self.plain)
        assert list(self.shared.items()) == list(self.plain.items())
        assert list(reversed(self.shared)) == list(reversed(self.plain))
        assert len(self.shared) == len(self.plain)


class ListMachine(RuleBasedStateMachine):
    slices = st.builds(
        slice,
        st.none() | st.integers(-8, 8),
        st.none() | st.integers(-8, 8),
        st.none() | st.sampled_from([1, 2, -1, -2, 3]),
    )
    places = st.integers(-8, 8)

    def __init__(self):
        super().__init__()
        self.shared, self.plain = shared.list(), []

    def both(self, act):
        both(act, self.shared, self.plain)

    @rule(value=VALUES)
    def append(self, value):
        self.both(lambda each: each.append(value))

    @rule(values=st.lists(VALUES, max_size=5))
    def extend(self, values):
        self.both(lambda each: each.extend(values))

    @rule(place=places, value=VALUES)
    def set(self, place, value):
        self.both(lambda each: each.__setitem__(place, value))

    @rule(place=places)
    def delete(self, place):
        self.both(lambda each: each.__delitem__(place))

    @rule(part=slices, values=st.lists(VALUES, max_size=4))
    def set_slice(self, part, values):
        self.both(lambda each: each.__setitem__(part, values))

    @rule(part=slices)
    def delete_slice(self, part):
        self.both(lambda each: each.__delitem__(part))

    @rule(part=slices, place=places)
    def get(self, part, place):
        self.both(lambda each: each[part])
        self.both(lambda each: each[place])

    @rule(place=places, value=VALUES)
    def insert(self, place, value):
        self.both(lambda each: each.insert(place, value))

    @rule(place=places)
    def pop(self, place):
        self.both(lambda each: each.pop())
        self.both(lambda each: each.pop(place))

    @rule(value=VALUES)
    def remove(self, value):
        self.both(lambda each: each.remove(value))
        self.both(lambda each: (each.count(value), each.index(value)))

    @rule(backwards=st.booleans())
    def sort(self, backwards):
        self.both(lambda each: each.sort(key=repr, reverse=backwards))

    @rule()
    def reverse(self):
        self.both(lambda each: each.reverse())

    @rule(times=st.integers(-1, 2))
    def multiply(self, times):
        self.both(lambda each: each.__imul__(times) and None)
        del self.shared[10:]
        del self.plain[10:]

    @rule()
    def clear(self):
        self.both(lambda each: each.clear())

    @invariant()
    def is_equal(self):
        assert self.shared == self.plain
        assert len(self.shared) == len(self.plain)
        assert list(reversed(self.shared)) == list(reversed(self.plain))


class SetMachine(RuleBasedStateMachine):
    others = st.sets(KEYS, max_size=5)

    def __init__(self):
        super().__init__()
        self.shared, self.plain = shared.set(), set()

    @rule(value=KEYS)
    def change(self, value):
        both(lambda each: each.remove(value), self.shared, self.plain)
        both(lambda each: each.add(value), self.shared, self.plain)
        both(lambda each: each.add(value), self.shared, self.plain)

    @rule(value=KEYS)
    def discard(self, value):
        both(lambda each: each.discard(value), self.shared, self.plain)

    @rule(other=others)
    def combine(self, other):
        for act in (
            lambda each: each | other,
            lambda each: each & other,
            lambda each: each - other,
            lambda each: other - each,
            lambda each: each ^ other,
            lambda each: each <= other,
            lambda each: each >= other,
            lambda each: each.isdisjoint(other),
            lambda each: each.union(other, "x"),
            lambda each: each.issuperset(other),
            lambda each: each.update(other),
            lambda each: each.symmetric_difference_update(other),
        ):
            both(act, self.shared, self.plain)

    @rule(other=others)
    def keep(self, other):
        both(lambda each: each.intersection_update(other), self.shared, self.plain)

    @rule()
    def pop(self):
        if self.plain:
            self.plain.remove(self.shared.pop())
        else:
            with pytest.raises(KeyError):
                self.shared.pop()

    @invariant()
    def is_equal(self):
        assert self.shared == self.plain
        assert len(self.shared) == len(self.plain)


def both(act, ours, plain):
    """The same result, or the same exception with the same text."""
    outcomes = []
    for one in (plain, ours):
        try:
            outcomes.append((None, act(one)))
        except (LookupError, ValueError, TypeError) as error:
            outcomes.append((type(error), str(error)))
    assert outcomes[0] == outcomes[1]


class TestDictMachine(DictMachine.TestCase):
    settings = MACHINES


class TestListMachine(ListMachine.TestCase):
    settings = MACHINES


class TestSetMachine(SetMachine.TestCase):
    settings = MACHINES


UNUSUAL = [
    1 + 2j,
    Decimal("1.10"),
    Decimal("-0.0001"),
    Fraction(1, 3),
    uuid.uuid4(),
    dt.date(2020, 1, 2),
    dt.datetime(2020, 1, 2, 3, 4, 5),
    dt.datetime(2020, 1, 2, tzinfo=dt.UTC),
    dt.timedelta(seconds=-1),
    dt.time(1, 2, 3, 4),
    dt.time(0, 30, tzinfo=dt.timezone(dt.timedelta(hours=14))),
    dt.time(23, 59, 59, 999_999, tzinfo=dt.timezone(dt.timedelta(hours=-12))),
    pathlib.Path("/a/b"),
    frozenset({1, "a", frozenset({2})}),
    frozenset({float("inf"), -float("inf"), 1e300, 2**70}),
    Colour.RED,
    "\ud800",
    float("inf"),
    -(2**70),
]


@pytest.mark.parametrize("key", UNUSUAL, ids=repr)
def test_a_key_of_an_unusual_type_is_found_and_comes_back(key):
    d = shared.dict({key: 1})
    assert d[key] == 1
    assert list(d) == [key]
    assert type(next(iter(d))) is type(key)


@pytest.mark.parametrize(
    "equals",
    [
        (1, 1.0, True, 1 + 0j, Decimal("1.0"), Fraction(2, 2)),
        (0.5, Decimal("0.50"), Fraction(1, 2)),
        (2**70, float(2**70), Decimal(2**70)),
        (0, -0.0, False),
        (Decimal("1.10"), Decimal("1.1"), Fraction(11, 10)),
        (frozenset({1, 2.0, "b"}), frozenset({"b", 2, True})),
        (frozenset({1, 0.5, 7}), frozenset({np.int8(7), Decimal("0.5"), 1 + 0j})),
        (
            dt.datetime(2020, 1, 1, 12, tzinfo=dt.UTC),
            dt.datetime(2020, 1, 1, 13, tzinfo=dt.timezone(dt.timedelta(hours=1))),
        ),
        (
            dt.time(12, tzinfo=dt.UTC),
            dt.time(13, tzinfo=dt.timezone(dt.timedelta(hours=1))),
            dt.time(12, tzinfo=dt.UTC, fold=1),
        ),
        (dt.time(12), dt.time(12, fold=1), dt.time(12, tzinfo=zoneinfo.ZoneInfo("UTC")).replace(tzinfo=None)),
        (1, np.int64(1), np.float32(1), np.bool_(True), np.uint8(1)),
        (0.5, np.float32(0.5), np.float64(0.5)),
        ("text", np.str_("text")),
        (b"bytes", np.bytes_(b"bytes")),
        ((1, (2.0, "a")), (True, (2, "a"))),
    ],
    ids=repr,
)
def test_equal_keys_are_one_key(equals):
    d = shared.dict()
    for number, key in enumerate(equals):
        d[key] = number
    assert len(d) == 1
    assert all(d[key] == len(equals) - 1 for key in equals)
    assert next(iter(d)) == equals[0]


@pytest.mark.parametrize("key", [[], {}, (1, []), (frozenset(), {1}), bytearray()], ids=repr)
def test_what_has_no_hash_is_no_key_and_changes_nothing(key):
    d = shared.dict(a=1)
    for act in (lambda: d.__setitem__(key, 2), lambda: d[key], lambda: key in d, lambda: d.pop(key, None)):
        with pytest.raises(TypeError, match="unhashable type"):
            act()
    assert d == {"a": 1}


def test_a_key_that_is_too_long_says_so_and_changes_nothing():
    d = shared.dict({"k" * 1_000_000: 1})
    with pytest.raises(
        ValueError, match="the key has 1100001 bytes: those of a shared container have at most 1048575"
    ):
        d["k" * 1_100_000] = 2
    assert "k" * 1_100_000 not in d
    assert d == {"k" * 1_000_000: 1}


@pytest.mark.parametrize(
    "value",
    [[], [1, "two", None],
     {"a": 1, 2: b"b"}, (1, (2.5, ("x",))), [[1], {"a": []}], {"big": "x" * 20_000}, [1] * 9000, (shared, )],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_values_come_back_as_copies_of_what_they_were(value):
    if value == (shared,):
        value = (shared.dict(a=1), 2)
    d, items = shared.dict(v=value), shared.list([value])
    for got in (d["v"], items[0], next(iter(d.values()))):
        assert got == value
        assert type(got) is type(value)
        assert got is not value or value == ()
    assert d.compare_and_set("v", value, "other")


def test_what_cannot_be_pickled_changes_nothing():
    d, items = shared.dict(a=1), shared.list([1])
    for act in (
        lambda: d.__setitem__("a", lambda: 0),
        lambda: items.append(lambda: 0),
        lambda: items.extend([2, lambda: 0]),
        lambda: items.__setitem__(slice(0, 1), [3, lambda: 0]),
    ):
        with pytest.raises((pickle.PicklingError, AttributeError)):
            act()
    assert d == {"a": 1}
    assert items == [1]


EXHAUSTING = """
from procession import _native, shared
d, items = shared.dict(a=1), shared.list([1])
try:
    for number in range(1 << 10):
        d[number] = bytes(1 << 19)
        items.extend([bytes(1 << 18)] * 2)
except MemoryError:
    pass
lengths = len(d), len(items)
for act in (
    lambda: d.__setitem__("a", bytes(1 << 25)),
    lambda: items.extend([1, bytes(1 << 25)]),
    lambda: items.__setitem__(slice(0, 1), [2, bytes(1 << 25)]),
):
    try:
        act()
    except MemoryError:
        continue
    raise AssertionError("there is no end to the memory")
assert d["a"] == 1 and items[0] == 1 and (len(d), len(items)) == lengths
d.clear()
items.clear()
d["a"] = bytes(1 << 23)
report = _native.fsck()
assert not report["inconsistent"] + report["leaked"], report
"""


def test_exhaustion_is_a_memory_error_and_changes_nothing():
    environment = os.environ | {"PROCESSION_ARENA": "64M"}
    subprocess.run([sys.executable, "-c", EXHAUSTING], env=environment, check=True)


def test_atomic_changes_of_a_dict():
    d = shared.dict(n=1)
    assert (d.incr("n"), d.incr("n", 5), d.incr("f", by=0.5), d.incr("m", default=10)) == (2, 7, 0.5, 11)
    assert not d.compare_and_set("n", 1, 2)
    assert d.compare_and_set("n", 7, 8)
    assert not d.compare_and_set("missing", None, 1)
    assert d.update("n", lambda value: value * 2) == 16
    with pytest.raises(KeyError):
        d.update("missing", lambda value: value)
    with pytest.raises(ZeroDivisionError):
        d.update("n", lambda value: value / 0)
    with pytest.raises(TypeError):
        d.incr("n", "text")
    assert d == {"n": 16, "f": 0.5, "m": 11}
    with pytest.raises(TypeError, match="at most 1 argument"):
        d.update({}, {})


def test_views_and_operators_of_a_dict():
    d = shared.dict([("a", 1), ("b", 2)], c=3)
    assert d.keys() & {"a", "x"} == {"a"}
    assert d.items() >= {("a", 1)}
    assert 3 in d.values()
    assert list(reversed(d.values())) == [3, 2, 1]
    assert repr(d.keys()) == "dict_keys(['a', 'b', 'c'])"
    assert d | {"a": 9} == {"a": 9, "b": 2, "c": 3}
    assert {"a": 9, "z": 0} | d == {"a": 1, "z": 0, "b": 2, "c": 3}
    d |= {"z": 26}
    d |= [("y", 25)]
    assert d == shared.dict(a=1, b=2, c=3, z=26, y=25)
    assert d != {"a": 1}
    assert d != [1]
    assert repr(d) == "shared.dict({'a': 1, 'b': 2, 'c': 3, 'z': 26, 'y': 25})"
    assert isinstance(d, MutableMapping)
    assert isinstance(d, Mapping)
    assert shared.dict.fromkeys("ab", 0) == {"a": 0, "b": 0}
    assert {**d}["z"] == 26
    match d:
        case {"a": 1, **rest}:
            assert "b" in rest
        case _:
            pytest.fail("it is a mapping")


def test_copies_are_plain():
    for made, kind in ((shared.dict(a=[1]), dict), (shared.list([[1]]), list), (shared.set([1]), set)):
        for one in (made.copy(), copy.copy(made), copy.deepcopy(made)):
            assert type(one) is kind
            assert made == one


def test_what_is_got_is_a_copy():
    d = shared.dict(a=[1])
    d["a"].append(2)
    assert d["a"] == [1]


def test_generic_types_make_containers():
    assert shared.dict[str, int](a=1) == {"a": 1}
    assert shared.list[int]([1]) == [1]
    assert isinstance(shared.set[int], types.GenericAlias)


def test_containers_are_unhashable_like_the_builtins():
    for made in (shared.dict(), shared.list(), shared.set(), shared.Namespace()):
        with pytest.raises(TypeError, match="unhashable"):
            hash(made)


def test_operators_of_a_list():
    items = shared.list("abc")
    assert [*items, "d"] == ["a", "b", "c", "d"]
    assert ["d", *items] == ["d", "a", "b", "c"]
    assert items * 2 == 2 * items == list("abcabc")
    assert items < ["b"]
    assert items >= shared.list("abc")
    assert (items == ("a", "b", "c")) is False
    items += "d"
    assert items[::-1] == ["d", "c", "b", "a"]
    assert isinstance(items, MutableSequence)
    with pytest.raises(TypeError, match="list indices must be integers or slices, not str"):
        items["a"]
    with pytest.raises(ValueError, match="slice step cannot be zero"):
        items[::0]
    with pytest.raises(TypeError, match="can only assign an iterable"):
        items[:] = 1


def test_a_set_keeps_the_order_of_insertion():
    made = shared.set("cab")
    assert list(made) == ["c", "a", "b"]
    assert isinstance(made, MutableSet)
    assert repr(shared.set([1])) == "shared.set({1})"


def test_a_namespace_has_attributes():
    names = shared.Namespace(a=1)
    names.lock = names.get = 7  # names of methods, too
    assert (names.lock, names.get) == (7, 7)
    del names.lock, names.get
    with names.lock():
        names.a = 1
    names.b = [2]
    assert (names.a, names.b) == (1, [2])
    del names.a
    with pytest.raises(AttributeError, match="no attribute 'a'"):
        names.a
    with pytest.raises(AttributeError, match="no attribute 'a'"):
        del names.a
    assert "b" in dir(names)
    assert repr(names) == "Namespace(b=[2])"
    assert names == shared.Namespace(b=[2])


def test_a_counter_counts():
    count = shared.counter(5)
    assert (count.add(), count.add(-7), count.value, int(count)) == (6, -1, -1, -1)
    count += 3
    count -= 1
    assert count.value == 1
    count.value = 2**63 - 1
    with pytest.raises(OverflowError):
        count.add()
    assert count.value == 2**63 - 1
    assert count.compare_exchange(2**63 - 1, 0)
    assert not count.compare_exchange(1, 2)
    assert range(3)[count] == 0


def test_containers_in_containers_are_themselves():
    outer = shared.dict(
        inner=shared.dict(), items=shared.list(), names=shared.Namespace(), n=shared.counter()
    )
    outer["inner"]["x"] = 1
    outer["items"].append(outer["inner"])
    outer["items"][0]["y"] = 2
    outer["names"].z = 3
    outer["n"].add(4)
    assert outer["inner"] == {"x": 1, "y": 2}
    assert outer["names"].z == 3
    assert outer["n"].value == 4
    # In a plain value as well.
    outer["plain"] = {"list": [outer["n"], outer["items"]]}
    outer["plain"]["list"][0].add(1)
    assert outer["n"].value == 5
    before = _native.fsck()["objects"]
    del outer["n"]
    assert _native.fsck()["objects"] == before
    del outer["plain"]
    assert _native.fsck()["objects"] == before - 1
    assert [type(value).__name__ for value in outer.values()] == ["dict", "list", "Namespace"]


def test_a_container_may_lie_in_itself():
    d = shared.dict()
    d["me"] = d
    d["me"]["x"] = 1
    assert d["x"] == 1
    assert repr(d) == "shared.dict({'me': shared.dict(...), 'x': 1})"
    del d["me"]


def test_a_subclass_comes_out_of_a_container_as_itself():
    outer = shared.dict(inner=Registry(a=1))
    assert type(outer["inner"]) is Registry
    assert outer["inner"].doubled("a") == 2


class Registry(shared.dict):
    def doubled(self, key):
        return self[key] * 2


def test_an_iteration_goes_over_what_was_there():
    d, items = shared.dict(a=1, b=2), shared.list([1, 2])
    over = iter(d.items())
    second = iter(items)
    d.clear()
    items.clear()
    assert list(over) == [("a", 1), ("b", 2)]
    assert list(second) == [1, 2]


def test_an_iteration_keeps_what_it_will_give():
    d = shared.dict(a=shared.list([1]))
    over = iter(d.values())
    d.clear()
    assert next(over) == [1]


@pytest.mark.parametrize("backwards", [False, True])
def test_members_are_made_many_at_once_and_come_in_order(backwards):
    plain = {
        number: [Colour.RED] if number % 37 == 5 else (str(number), number) for number in range(3000)
    } | {Colour.RED: 1, True: 2}
    d = shared.dict(plain)
    order = list(plain.items())[::-1] if backwards else list(plain.items())
    assert list(d._iterate(2, backwards)) == order
    members = d._iterate(2, backwards)
    taken = [next(members) for _ in range(100)]
    assert taken == order[:100]
    assert members.__length_hint__() == len(order) - 100
    assert members._list() == order[100:]
    assert (next(members, None), members._list(), members.__length_hint__()) == (None, [], 0)
    keys, values = d._iterate(0, backwards), d._iterate(1, backwards)
    assert (keys._list(), values._list()) == ([key for key, _ in order], [value for _, value in order])
    assert d._iterate(2, backwards)._dict() == plain
    assert gc.isenabled()


class Collecting:
    def __reduce__(self):
        return gc.isenabled, ()


def test_no_code_runs_while_collections_wait():
    d = shared.dict({number: Collecting() if number % 10 == 9 else number for number in range(100)})
    assert [value for key, value in d.items() if key % 10 == 9] == [True] * 10
    assert [value for key, value in d.copy().items() if key % 10 == 9] == [True] * 10
    gc.disable()
    try:
        assert d._iterate(1, False)._list().count(False) == 11  # 0 is one of them
        assert not gc.isenabled()
    finally:
        gc.enable()
