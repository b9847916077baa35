"""Frozen graphs: equal to what they were made of, unchangeable, read by others, freed with the last part of them."""

import copy
import ctypes
import gc
import math
import os
import pickle
import signal
from collections import Counter, OrderedDict
from typing import NamedTuple

import numpy as np
import pytest
from children import finish
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import procession
from procession import _native, shared

fork = procession.get_context("fork")
spawn = procession.get_context("spawn")

SAMPLE = {
    "name": "ada",
    "none": None,
    "yes": True,
    1: [1, -1, 2**70, -(2**70), 2**60, 2.5, 1j],
    (1, "two"): ("tuple", (), []),
    "bytes": b"\x00\xff",
    "sets": [{1, 2, "three"}, frozenset({None}), set()],
    "nested": {"a": {"b": {"c": [{}]}}},
    "lone \ud800": "\udfff and \U0001f600",
}


def objects():
    gc.collect()
    _native.sweep()
    report = _native.fsck()
    assert not report["leaked"], report
    assert not report["garbage"], report
    return report["objects"]


def test_it_equals_what_it_was_made_of():
    frozen = shared.freeze(SAMPLE)
    assert frozen == SAMPLE
    assert SAMPLE == frozen  # noqa: SIM300  both ways
    assert frozen.thaw() == SAMPLE
    assert list(frozen) == list(SAMPLE)
    assert [type(key) for key in frozen] == [type(key) for key in SAMPLE]
    assert len(frozen) == len(SAMPLE)
    assert frozen["name"] == "ada"
    assert frozen[1.0] == frozen[True] == frozen[1]
    assert frozen[1, "two"][0] == "tuple"
    assert frozen["yes"] is True
    assert frozen.get("missing", 7) == 7
    assert 1 in frozen
    assert [1] not in shared.freeze({2: 1}).values()
    assert frozen != {**SAMPLE, "more": 1}
    assert frozen["lone \ud800"] == SAMPLE["lone \ud800"]
    assert {**frozen} == SAMPLE
    assert frozen | {"name": 1} == SAMPLE | {"name": 1}
    with pytest.raises(KeyError, match="missing"):
        frozen["missing"]
    with pytest.raises(TypeError, match="unhashable"):
        frozen[[]]
    assert frozen.get(object()) is None
    assert eval(repr(frozen), {"shared": shared}) == SAMPLE


def test_sequences():
    plain = [5, "six", [7.0], None, 9]
    ours, also = shared.freeze(plain), shared.freeze(tuple(plain))
    assert ours == plain
    assert also == tuple(plain)
    assert ours != tuple(plain)
    assert also != plain
    for index in (slice(1, 3), slice(None, None, -2), slice(-2, None), slice(9, 20)):
        assert ours[index] == plain[index]
        assert also[index] == tuple(plain)[index]
    assert (ours[-1], ours.index("six"), ours.count(9), [7.0] in ours, list(reversed(ours))) == (
        9,
        1,
        1,
        True,
        plain[::-1],
    )
    for wrong in (5, -6):
        with pytest.raises(IndexError):
            ours[wrong]
    assert ours + [1] == [*plain, 1]  # noqa: RUF005  what is tested
    assert [1] + ours == [1, *plain]  # noqa: RUF005
    assert also * 2 == tuple(plain) * 2
    assert shared.freeze([1, 2]) < [1, 3]
    assert not shared.freeze((1, 2)) >= (1, 3)
    with pytest.raises(TypeError):
        _ = ours < also
    first, *rest = ours
    assert (first, len(rest)) == (5, 4)
    match ours:
        case [5, str(text), *_]:
            assert text == "six"
    assert hash(shared.freeze((1, ("a", frozenset({2}))))) == hash((1, ("a", frozenset({2}))))
    assert {(1, 2): "here"}[shared.freeze((1, 2))] == "here"


def test_sets():
    ours = shared.freeze({1, "two", (3, 4)})
    assert ours == {1, "two", (3, 4)}
    assert "two" in ours
    assert (3, 4) in ours
    assert 5 not in ours
    assert ours & {1, 9} == {1}
    assert ours | {9} > ours
    assert ours.isdisjoint({7})
    assert type(ours.thaw()) is set
    assert type(shared.freeze(frozenset({1})).thaw()) is frozenset
    assert len(ours) == len(list(ours)) == 3
    with pytest.raises(TypeError, match="unhashable"):
        _ = [] in ours


@pytest.mark.parametrize("change", [
    lambda f: f.__setitem__("list", 1) if hasattr(f, "__setitem__") else exec("f['list'] = 1", {"f": f}),
    lambda f: exec("del f['list']", {"f": f}),
    lambda f: exec("f['list'][0] = 1", {"f": f}),
    lambda f: exec("f['array'][0] = 1", {"f": f}),
    lambda f: exec("f['buffer'][0] = 1", {"f": f}),
    lambda f: exec("x = f['set']; x.add(1)", {"f": f}),
    lambda f: exec("f.new = 1", {"f": f}),
    lambda f: exec("f['list'].append(1)", {"f": f}),
])  # fmt: skip
def test_nothing_can_be_changed(change):
    frozen = shared.freeze({"list": [1], "array": np.arange(3), "buffer": bytearray(3), "set": {1}})
    with pytest.raises((TypeError, ValueError, AttributeError)):
        change(frozen)
    assert frozen["list"] == [1]
    with pytest.raises(TypeError, match="unhashable"):
        hash(frozen)
    with pytest.raises(TypeError):
        shared.FrozenDict()


class Point(NamedTuple):
    x: int
    y: float


def test_subclasses_are_what_they_are_instances_of():
    made = {
        "o": OrderedDict(a=1),
        "c": Counter("aab"),
        "p": Point(1, 2.5),
        "f": np.float64(1.5),
        "i": np.int32(7),
        "s": np.str_("t"),
    }
    frozen = shared.freeze(made)
    assert frozen == {"o": {"a": 1}, "c": {"a": 2, "b": 1}, "p": (1, 2.5), "f": 1.5, "i": 7, "s": "t"}
    assert type(frozen["f"]) is float
    assert type(frozen["s"]) is str
    assert shared.freeze({"again": frozen})["again"] == frozen


@pytest.mark.parametrize(
    "array",
    [np.arange(12).reshape(3, 4), np.arange(12.0).reshape(3, 4).T, np.zeros((0, 3), "f4"), np.array(5), np.arange(10)[::3],
     np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]), np.array(["a", "bc"]),
     np.array(["2024-01-01"], "M8[D]"), np.array([True])],
    ids=lambda array: str(array.dtype),
)  # fmt: skip
def test_arrays_are_views(array):
    for frozen in (shared.freeze([array])[0], shared.freeze(array)):
        assert isinstance(frozen, np.ndarray)
        assert frozen.dtype == array.dtype
        assert frozen.shape == array.shape
        assert (frozen == array).all()
        again = pickle.loads(pickle.dumps(frozen))
        assert (again == array).all()
        for one in (frozen, frozen[...], again, again.view(np.ndarray), pickle.loads(pickle.dumps(again))):
            assert not one.flags.writeable
            with pytest.raises(ValueError, match="WRITEABLE"):
                one.setflags(write=True)


def test_buffers_are_views():
    frozen = shared.freeze(
        {"a": bytearray(b"abc"), "v": memoryview(b"defg")[::2], "m": memoryview(np.arange(3.0))}
    )
    assert bytes(frozen["a"]) == b"abc"
    assert bytes(frozen["v"]) == b"df"
    assert frozen["a"].readonly
    with pytest.raises(TypeError, match="not writable"):
        (ctypes.c_char * 3).from_buffer(frozen._memory)
    assert len(frozen["m"]) == 24
    thawed = frozen.thaw()
    assert thawed["a"] == bytearray(b"abc")
    thawed["a"][0] = 0
    assert bytes(frozen["a"]) == b"abc"


def test_what_is_twice_in_it_lies_there_once():
    text, array = "t" * 100_000, np.arange(100_000)
    frozen = shared.freeze([[text, array] for _ in range(10)] + [[text + "", {"k": array}]] * 10)
    assert frozen._memory.nbytes < 1_000_000
    assert frozen[-1][1]["k"][7] == 7


def test_what_cannot_be_frozen_is_named_by_its_place():
    with pytest.raises(TypeError, match=r"obj\['a'\]\[1\]\['b'\] is of 'object', which cannot be frozen"):
        shared.freeze({"a": [1, {"b": object()}]})
    with pytest.raises(TypeError, match=r"obj\[0\] has the key <object"):
        shared.freeze([{object(): 1}])
    with pytest.raises(TypeError, match=r"obj\['x'\] is of 'ndarray'"):
        shared.freeze({"x": np.array([object()])})
    ring = [1]
    ring.append({"ring": ring})
    with pytest.raises(ValueError, match=r"obj\[1\]\['ring'\] contains itself"):
        shared.freeze(ring)


def test_plain_values_are_themselves():
    for value in (None, True, 7, 2.5, "text", b"bytes"):
        assert shared.freeze(value) is value
    frozen = shared.freeze([1])
    assert shared.freeze(frozen) is frozen
    assert copy.deepcopy(frozen) is copy.copy(frozen) is frozen


keys = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.floats(allow_nan=False),
)
keys = st.one_of(keys, st.tuples(keys, keys), st.frozensets(keys, max_size=3))
values = st.recursive(
    st.one_of(keys, st.floats(), st.complex_numbers(allow_nan=False), st.integers(-(2**80), 2**80)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=12),
        st.sets(keys, max_size=6),
    ),
    max_leaves=25,
)


def same(one, other):
    """Equal, of the same types, and NaNs too."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            same(mine, theirs) and same(one[mine], other[theirs])
            for mine, theirs in zip(one, other, strict=True)
        )
    return one == other


@settings(max_examples=80, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(values)
def test_any_graph_comes_back_as_it_was(value):
    frozen = shared.freeze([value])
    assert same(frozen.thaw(), [value])
    if isinstance(value, dict):
        for key in value:
            assert key in frozen[0]
            assert same(shared.freeze([value[key]]).thaw(), [frozen[0].thaw()[key]])
    if isinstance(value, (set, frozenset)):
        assert all(member in frozen[0] for member in value)


@settings(max_examples=60, deadline=None, database=None)
@given(
    st.dictionaries(st.one_of(st.integers(0, 200), st.text("ab", max_size=3)), st.integers(), max_size=60),
    st.data(),
)
def test_looking_up_is_as_in_a_dict(plain, data):
    frozen = shared.freeze(plain)
    assert frozen == plain
    assert plain == frozen
    for key in data.draw(st.lists(st.one_of(st.integers(0, 200), st.text("ab", max_size=3)), max_size=20)):
        assert frozen.get(key, "none") == plain.get(key, "none")


# ---- others read it --------------------------------------------------------------------------


def read(frozen, q):
    q.put((frozen["big"].sum(), frozen["words"]["w500"], frozen["rows"][3]))


@pytest.mark.parametrize("context", [fork, spawn], ids=["fork", "spawn"])
def test_every_part_travels_as_a_handle(context):
    before = objects() if _native.has_arena() else 0
    frozen = shared.freeze(
        {
            "big": np.arange(100_000),
            "words": {f"w{n}": n for n in range(1000)},
            "rows": [[n] for n in range(9)],
        }
    )
    q = context.Queue()
    process = context.Process(target=read, args=(frozen, q))
    process.start()
    total, word, row = q.get()
    finish(process)
    assert (total, word, row) == (4999950000, 500, [3])
    assert type(row) is shared.FrozenList
    del frozen
    assert objects() == before + 2, "a part keeps the whole"
    q.put([row])
    del row
    assert objects() == before + 2, "and so does a message"
    assert q.get()[0] == [3]
    d = shared.dict(frozen=shared.freeze({"a": [1]}))
    assert d["frozen"]["a"] == [1]
    del q, d, process
    assert objects() == before


def test_killed_readers_free_it():
    holds = fork.Event()
    before = objects()

    def hold(frozen):
        assert frozen["a"] == [1, 2]
        holds.set()
        signal.pause()

    frozen = shared.freeze({"a": [1, 2]})
    process = fork.Process(target=hold, args=(frozen,))
    process.start()
    assert holds.wait(30)
    del frozen
    during = objects()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    del process
    assert objects() == before < during


@pytest.mark.parametrize("scalar", [np.int64(5), np.bool_(True), np.float32(0.5), np.str_("text")], ids=repr)
def test_a_numpy_scalar_is_what_it_equals(scalar):
    assert shared.freeze(scalar) == scalar
    assert shared.freeze([scalar])[0] == scalar


def test_a_mask_is_not_dropped_in_silence():
    with pytest.raises(TypeError, match="MaskedArray"):
        shared.freeze([np.ma.array([1, 2], mask=[0, 1])])
