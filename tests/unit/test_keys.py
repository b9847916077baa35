"""Keys of shared containers among processes, whose hashes differ; and processes that put equal ones in at once."""

import pickle
import threading
from typing import ClassVar

import pytest
from children import finish
from hashables import KEYS, Name, Number, Part

import procession
from procession import shared

METHODS = ["fork", "spawn", "forkserver"]


def look_up(d, members, found):
    found.extend([(d[key], key in members) for key in KEYS])
    d[Name("OF A CHILD")] = d[Part("of a child")] = 1
    d[Name("A")] = "by a child"


@pytest.mark.parametrize("method", METHODS)
def test_a_child_finds_every_kind_of_key(start, method):
    plain = {key: number for number, key in enumerate(KEYS)}
    d, members, found = shared.dict(plain), shared.set(KEYS), shared.list()
    assert repr(list(d)) == repr(list(plain))
    assert finish(start(procession.get_context(method), look_up, d, members, found)) == 0
    assert found == [(plain[key], True) for key in KEYS]
    assert d[Name("of a child")] == d[Part("of a child")] == 1
    assert d[Name("a")] == "by a child"
    assert repr(list(d)[: len(plain)]) == repr(list(plain))  # as they were first put in


def put_all_in(d, members, own, gate):
    gate.wait()
    for number in range(60):
        name = Name(f"key {number}" if own else f"KEY {number}")
        d.setdefault(name, own)
        members.add(name)
        d.incr(Number(0))
        if number % 10 == 0:
            d.pop(Name("key 7"), None)
            d[Name("key 7")] = own


def test_equal_keys_that_are_put_in_at_once_are_one(start):
    d, members = shared.dict(), shared.set()
    gate = procession.Barrier(3)
    workers = [
        start(procession.get_context(method), put_all_in, d, members, own, gate)
        for own, method in enumerate(METHODS)
    ]
    assert [finish(worker) for worker in workers] == [0, 0, 0]
    assert d[Number(0)] == 180
    assert sorted(key.text.lower() for key in members) == sorted(f"key {number}" for number in range(60))
    assert len(d) == 61
    assert all(Name(f"Key {number}") in d for number in range(60))


def test_a_key_that_was_taken_out_is_spelt_anew():
    d = shared.dict({True: 1, Name("a"): 2})
    d[1], d[Name("A")] = 3, 4
    assert repr(d) == "shared.dict({True: 3, Name('a'): 4})"
    del d[1], d[Name("A")]
    d[1.0], d[Name("A")] = 5, 6
    assert repr(d) == "shared.dict({1.0: 5, Name('A'): 6})"
    assert d.popitem() == (Name("A"), 6)
    assert repr(d.popitem()) == "(1.0, 5)"


def test_a_directory_follows_growth_and_shrinking():
    d = shared.dict()
    for number in range(500):
        d[Number(number) if number % 50 == 0 else Name(str(number))] = number
    for number in range(490):
        del d[Number(number) if number % 50 == 0 else Name(str(number))]
    assert [d[Name(str(number))] for number in range(490, 500)] == list(range(490, 500))
    assert d.get(Name("3")) is None
    d.clear()
    assert Name("495") not in d


def test_compare_and_set_and_incr_of_a_compared_key():
    d = shared.dict({Name("a"): 1})
    assert d.compare_and_set(Name("A"), 1, 2)
    assert not d.compare_and_set(Name("A"), 1, 3)
    assert d.incr(Name("a"), 5) == 7
    assert d.update(Name("A"), lambda n: -n) == -7
    assert d.setdefault(Name("A"), 0) == -7


class OfNobodyElse:
    """Cannot be imported by another process."""

    def __init__(self, number):
        self.number = number

    def __eq__(self, other):
        return type(other) is type(self) and self.number == other.number

    def __hash__(self):
        return hash(self.number)


def hide_and_look(d):
    del globals()["OfNobodyElse"]
    assert d[Name("a")] == 1
    assert Name("b") not in d
    with pytest.raises(AttributeError):
        list(d)


def test_a_key_whose_class_is_not_here_hides_no_other(start):
    d = shared.dict({OfNobodyElse(1): 0, Name("a"): 1})
    assert finish(start(procession.get_context("fork"), hide_and_look, d)) == 0


def test_errors_of_the_keys_own_code_are_raised_and_change_nothing():
    class Failing(Name):
        def __eq__(self, other):
            raise ZeroDivisionError

        __hash__ = Name.__hash__

    d = shared.dict({Name("a"): 1})
    for act in (lambda: d[Failing("a")], lambda: d.__setitem__(Failing("a"), 2), lambda: d.pop(Failing("a"))):
        with pytest.raises(ZeroDivisionError):
            act()
    assert d == {Name("a"): 1}


def put_one_of_a_class_of_its_own(d):
    globals()["Late"] = type("Late", (OfNobodyElse,), {"__module__": __name__})
    d[Late(1)] = d[(Late(2),)] = "a child's"  # noqa: F821


def test_a_key_is_found_when_its_class_has_come(start, monkeypatch):
    d = shared.dict({Name("a"): 1})
    assert finish(start(procession.get_context("fork"), put_one_of_a_class_of_its_own, d)) == 0
    assert d[Name("a")] == 1
    assert Name("b") not in d
    late = type("Late", (OfNobodyElse,), {"__module__": __name__})
    monkeypatch.setitem(globals(), "Late", late)
    assert d[late(1)] == d[(late(2),)] == "a child's"
    assert late(3) not in d
    d[late(1)] = "mine"
    assert len(d) == 3
    assert d == {Name("a"): 1, late(1): "mine", (late(2),): "a child's"}


class Fickle(Name):
    """Cannot be made again while `is_broken`."""

    is_broken = True

    def __setstate__(self, state):
        if self.is_broken:
            raise ZeroDivisionError
        self.__dict__.update(state)


def test_a_key_that_cannot_be_made_again_is_not_put_in():
    d, members = shared.dict({Name("a"): 1}), shared.set()
    for act in (lambda: d.__setitem__(Fickle("b"), 2), lambda: members.add(Fickle("b"))):
        with pytest.raises(ZeroDivisionError):
            act()
    assert d[Name("a")] == 1
    assert Name("b") not in d
    assert d == {Name("a"): 1}
    assert not members


def test_popitem_takes_nothing_out_that_it_cannot_give(monkeypatch):
    monkeypatch.setattr(Fickle, "is_broken", False)
    d, members = shared.dict({Fickle("b"): 2}), shared.set({Fickle("b")})
    monkeypatch.setattr(Fickle, "is_broken", True)
    for pop in (d.popitem, members.pop):
        with pytest.raises(ZeroDivisionError):
            pop()
    monkeypatch.setattr(Fickle, "is_broken", False)
    assert d.popitem() == (Fickle("b"), 2)
    assert members.pop() == Fickle("b")


@pytest.mark.parametrize("kind", [tuple, frozenset])
def test_a_key_that_is_nested_too_deeply_is_refused(kind):
    d, key = shared.dict(), 1
    for _ in range(900):
        key = kind([key])
    d[key] = "deep"
    assert d[key] == "deep"
    for _ in range(100_000 if kind is tuple else 2_000):
        key = kind([key])
    with pytest.raises(RecursionError):
        d[key] = "too deep"
    assert len(d) == 1


class Staged:
    """Its hash is late where a thread of that name asks for it."""

    gates: ClassVar[dict[tuple[str, int], threading.Event]] = {}
    reached = threading.Semaphore(0)

    def __init__(self, number):
        self.number = number

    def __eq__(self, other):
        return type(other) is type(self) and self.number == other.number

    def __hash__(self):
        if gate := Staged.gates.get((threading.current_thread().name, self.number)):
            Staged.reached.release()
            assert gate.wait(20)
        return 1


def test_a_thread_that_reads_on_late_hides_nothing_from_others(monkeypatch):
    """It goes on with what it had read while others have read more: an earlier number of an equal key."""
    first, second = threading.Event(), threading.Event()
    monkeypatch.setattr(Staged, "gates", {("late", 1): first, ("late", 2): second})
    d = shared.dict({Staged(0): "there"})
    other = pickle.loads(pickle.dumps(d))
    assert d[Staged(0)] == "there"  # so that all threads go on in one directory
    other[Staged(1)], other[Staged(2)] = "old", 2
    found = []
    thread = threading.Thread(target=lambda: found.append(d.get(Staged(0))), name="late")
    thread.start()
    assert Staged.reached.acquire(timeout=20)
    del other[Staged(1)]
    other[Staged(1)] = "new"
    assert d[Staged(1)] == "new"
    first.set()
    assert Staged.reached.acquire(timeout=20)
    assert d.get(Staged(1)) == "new"
    d[Staged(1)] = "newer"
    assert [key.number for key in d] == [0, 2, 1]
    second.set()
    thread.join(20)
    assert found == ["there"]
    assert (d[Staged(1)], len(d)) == ("newer", 3)
