"""What travels through a queue, and how: native forms, pickles, large buffers, what cannot be sent."""

import collections
import copyreg
import dataclasses
import gc
import math
import mmap
import pickle
import queue
import re
import threading
from multiprocessing.reduction import ForkingPickler
from typing import NamedTuple

import numpy as np
import pytest
from children import finish
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import procession
from procession import _native

fork = procession.get_context("fork")

QUEUE = procession.SimpleQueue()


def travel(obj):
    QUEUE.put(obj)
    got = QUEUE.get()
    assert QUEUE.empty()
    return got


# ---- what comes out is what went in ---------------------------------------------------

integers = st.one_of(st.integers(), st.integers(-300, 300), st.sampled_from([2**n - 1 for n in range(70)]))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    integers,
    st.floats(allow_nan=False),
    st.text(),
    st.text(st.characters(codec=None, categories=["Cs", "Ll", "So"])),
    st.binary(),
    st.binary().map(bytearray),
    st.complex_numbers(allow_nan=False),
)
hashable = st.recursive(
    st.one_of(st.none(), st.booleans(), integers, st.text(), st.binary()),
    lambda inner: st.lists(inner, max_size=5).map(tuple),
    max_leaves=20,
)
objects = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.lists(inner, max_size=6).map(tuple),
        st.dictionaries(hashable, inner, max_size=6),
        st.frozensets(hashable, max_size=6),
    ),
    max_leaves=30,
)


def types_of(obj):
    """The exact types in it, which equality does not tell apart: True == 1 == 1.0."""
    if isinstance(obj, (list, tuple)):
        return type(obj), [types_of(item) for item in obj]
    if isinstance(obj, dict):
        return dict, [(types_of(key), types_of(value)) for key, value in obj.items()]
    return type(obj)


@settings(max_examples=120, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(objects)
@example({"a": 1, "b": 2.5, "c": "text", "d": None, "e": (1, 2), "f": True})
@example([0, -1, 255, -256, 2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 2**64])
@example(((((((1,),),),),),))
def test_what_comes_out_is_what_went_in(obj):
    got = travel(obj)
    assert got == obj
    assert types_of(got) == types_of(obj)


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(integers)
def test_integers_of_all_sizes(number):
    for value in (number, number << 64, -number << 1000):
        assert travel(value) == value


@pytest.mark.parametrize("nbytes", [0, 1, 1000, 32_700, 32_768, 33_000, 65_536, 70_000, 3_000_000])
def test_all_sizes(nbytes):
    content = bytes(range(256)) * (nbytes // 256 + 1)
    content = content[:nbytes]
    for obj in (content, bytearray(content), content.hex(), [content, [content]], (content, 1)):
        assert travel(obj) == obj
    text = "ä" * nbytes
    assert travel(text) == text


def test_floats_to_the_last_bit():
    assert math.copysign(1, travel(-0.0)) == -1
    assert math.isnan(travel(math.nan))
    assert travel((math.nan, 1))[1] == 1


def test_the_same_object_twice_stays_one():
    inner = {"x": [1]}
    got = travel([inner, inner])
    assert got[0] is got[1]
    got = travel({"a": [1], "b": (inner, inner)})
    assert got["b"][0] is got["b"][1]
    circle = {}
    circle["self"] = circle
    got = travel(circle)
    assert got["self"] is got


class Wrong(dict):
    """Not to be mistaken for a dict."""

    extra = None


class Pair(NamedTuple):
    left: object
    right: object


@dataclasses.dataclass
class Record:
    name: str
    values: list


@pytest.mark.parametrize(
    "obj",
    [
        Wrong(a=1),
        Pair(1, 2),
        Record("r", [1, 2]),
        [Record("r", [])],
        collections.OrderedDict(a=1),
        collections.deque([1, 2], 3),
        collections.Counter("abca"),
        np.int64(5),
        np.float32(2.5),
    ],
    ids=lambda obj: type(obj).__name__,
)
def test_subclasses_and_instances_are_what_they_were(obj):
    got = travel(obj)
    assert got == obj
    assert type(got) is type(obj)


# ---- reducers that others have registered -----------------------------------------------


class Reducible:
    def __init__(self, how):
        self.how = how


def test_a_reducer_counts_from_its_registration_on():
    def by_copyreg(_):
        return Reducible, ("copyreg",)

    def by_forking(_):
        return Reducible, ("forking",)

    try:
        assert travel(Reducible("own")).how == "own"
        copyreg.pickle(Reducible, by_copyreg)
        assert travel(Reducible("own")).how == "copyreg"
        ForkingPickler.register(Reducible, by_forking)
        assert travel(Reducible("own")).how == "forking"
    finally:
        ForkingPickler._extra_reducers.pop(Reducible, None)
        copyreg.dispatch_table.pop(Reducible, None)
    assert travel(Reducible("own")).how == "own"


# ---- what pickle refuses ------------------------------------------------------------------


def test_functions_without_a_name_travel():
    factor = 3
    assert travel(lambda x: x * factor)(14) == 42

    def closure():
        return factor

    assert travel({"f": closure})["f"]() == 3


@pytest.mark.parametrize(
    ("obj", "where"),
    [
        (threading.Lock(), r"the item cannot be sent to another process, being a _thread\.lock"),
        ({"a": [1, {"conn": threading.Lock()}]}, r"the item\['a'\]\[1\]\['conn'\] cannot be sent"),
        (Record("r", [threading.Lock()]), r"the item\.values\[0\] cannot be sent"),
        ((i for i in []), "generator"),
    ],
    ids=["lock", "in containers", "attribute", "generator"],
)
def test_a_refusal_names_the_place(obj, where):
    q = procession.Queue()
    with pytest.raises(TypeError) as caught:
        q.put(obj)
    assert any(re.search(where, note) for note in caught.value.__notes__)
    assert q.empty()
    q.put(1)
    assert q.get() == 1


class Raises:
    def __reduce__(self):
        raise KeyError("mine")


def test_a_reducer_that_raises():
    q = procession.Queue()
    with pytest.raises(KeyError, match="mine"):
        q.put([Raises()])
    q.put(1)
    assert q.get() == 1


class Interrupts:
    def __reduce__(self):
        raise KeyboardInterrupt


def test_an_interrupt_in_a_reducer_is_no_refusal():
    with pytest.raises(KeyboardInterrupt):
        QUEUE.put(Interrupts())
    assert QUEUE.empty()


class Explodes:
    def __reduce__(self):
        return explode, ()


def explode():
    raise LookupError("on arrival")


def test_an_item_that_cannot_be_made_again():
    QUEUE.put(Explodes())
    with pytest.raises(LookupError, match="on arrival"):
        QUEUE.get()
    assert QUEUE.empty()


# ---- Python that runs in the middle ------------------------------------------------------


class PutsItself:
    """Its reducer puts something, and gets it."""

    def __init__(self, depth):
        self.depth = depth

    def __reduce__(self):
        if self.depth:
            inner = procession.SimpleQueue()
            inner.put([PutsItself(self.depth - 1)])
            assert type(inner.get()[0]) is PutsItself
        return PutsItself, (self.depth,)


def test_a_reducer_that_puts():
    got = travel([PutsItself(6), {"x": PutsItself(2)}, "after"])
    assert [got[0].depth, got[1]["x"].depth, got[2]] == [6, 2, "after"]


def test_a_finalizer_that_puts_at_every_collection():
    q, late = procession.Queue(), procession.Queue()
    count = 0

    class Puts:
        def __init__(self):
            self.me = self

        def __del__(self):
            nonlocal count
            count += 1
            late.put({"n": count, "list": [count]})
            q.put(("late", count))

    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for number in range(300):
            Puts()
            q.put({"number": [number], "x": Record("r", [number])})
            q.put_many([number, [number]])
            while not q.empty():
                q.get()
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert count == 300
    assert sorted(late.get()["n"] for _ in range(count)) == list(range(1, count + 1))


# ---- large buffers ------------------------------------------------------------------------


def blocks():
    gc.collect()
    _native.sweep()
    return _native.fsck()["blocks"]


@pytest.mark.parametrize("dtype", ["u1", "f8", "c16", ">i4", "M8[s]", [("a", "i4"), ("b", "f8", 3)]])
@pytest.mark.parametrize("shape", [(), (0,), (10,), (100_000,), (300, 500), (3, 40, 5000)])
def test_arrays(shape, dtype):
    array = np.zeros(shape, dtype)
    array.reshape(-1).view("u1")[:] = 7 if np.dtype(dtype).kind != "M" else 1
    got = travel(array)
    assert got.dtype == array.dtype
    assert got.shape == array.shape
    assert got.tobytes() == array.tobytes()
    assert got.flags.writeable


def test_arrays_in_other_orders():
    array = np.arange(200_000).reshape(400, 500)
    for view in (array.T, array[::2], array[:, ::-1], np.asfortranarray(array)):
        assert (travel(view) == view).all()


def test_a_received_array_is_the_receivers_own():
    before = blocks()
    array = np.arange(1_000_000)
    QUEUE.put(array)
    array[:] = 0
    got = QUEUE.get()
    assert (got == np.arange(1_000_000)).all()
    got += 1
    assert got[0] == 1
    part = got[10:20]
    del got
    QUEUE.put(np.full(1_000_000, -1))
    assert (part == np.arange(11, 21)).all(), "a view keeps the block"
    assert (QUEUE.get() == -1).all()
    del part
    assert blocks() == before


def test_buffers_within_an_object():
    before = blocks()
    item = {"a": np.arange(100_000), "b": [np.ones(10), np.zeros((1000, 1000), "u1")], "c": b"x" * 200_000}
    got = travel(item)
    assert (got["a"] == item["a"]).all()
    assert (got["b"][0] == 1).all()
    assert not got["b"][1].any()
    assert got["c"] == item["c"]
    got["a"][0] = got["b"][1][0, 0] = 9
    del got
    assert blocks() == before


@pytest.mark.parametrize("nbytes", [100, 100_000, 5_000_000])
def test_memoryviews_and_pickle_buffers(nbytes):
    content = bytearray(i % 251 for i in range(nbytes))
    got = travel(memoryview(content))
    assert type(got) is memoryview
    assert got == content
    assert not got.readonly
    got[0] = 77
    assert content[0] == 0
    typed = memoryview(content)[: nbytes // 4 * 4].cast(
        "i", (nbytes // 8, 2) if nbytes % 8 == 0 else (nbytes // 4,)
    )
    got = travel(typed)
    assert (got.format, got.shape) == (typed.format, typed.shape)
    assert got.tolist() == typed.tolist()
    assert travel(memoryview(b"")) == b""
    assert travel(memoryview(content)[::2]) == content[::2]
    assert bytes(travel(pickle.PickleBuffer(content))) == content


def test_what_cannot_be_copied_is_refused_whole():
    with pytest.raises(TypeError):
        QUEUE.put([np.zeros(100_000), mmap.mmap(-1, 100)])
    assert QUEUE.empty()


def test_a_gigabyte_goes_through_and_the_memory_comes_back(start):
    before = blocks()
    there, back = procession.Queue(2), procession.Queue()

    def count():
        total = 0
        while (array := there.get()) is not None:
            total += len(array)
            array[0] = 1  # its own
        back.put(total)

    child = start(fork, count)
    array = np.zeros(16 << 20, "u1")
    for _ in range(64):
        there.put(array)
    there.put(None)
    assert back.get(timeout=60) == 64 * len(array)
    assert finish(child) == 0
    there = back = None
    assert blocks() <= before
    _native.give_back()
    assert _native.fsck()["bytes_committed"] < 256 << 20


@pytest.mark.slow
def test_who_waits_gives_back_what_nobody_uses():
    q = procession.Queue()
    for _ in range(200):
        q.put(bytes(1 << 20))
    for _ in range(200):
        q.get()
    full = _native.fsck()["bytes_committed"]
    with pytest.raises(queue.Empty):
        q.get(timeout=2.5)  # the arena has been idle for two seconds by then
    assert _native.fsck()["bytes_committed"] <= full - (100 << 20)


def test_a_forked_child_keeps_what_its_parent_has_received(start):
    before = blocks()
    q, answers = procession.Queue(), procession.SimpleQueue()
    q.put(np.arange(100_000))
    received = [q.get()]

    def watch():
        answers.put("there")
        go.get()
        answers.put(bool((received[0] == np.arange(100_000)).all()))

    go = procession.SimpleQueue()
    child = start(fork, watch)
    assert answers.get() == "there"
    received.clear()
    for _ in range(5):
        q.put(np.zeros(100_000, "i8"))
    go.put("now")
    assert answers.get() is True
    assert finish(child) == 0
    q = answers = go = None
    assert blocks() <= before


def test_items_that_nobody_gets_go_with_the_queue():
    before = blocks()
    q = procession.Queue()
    for number in range(3000):
        q.put([number, "x" * 100])
    q.put(np.zeros(1_000_000))
    q.put(b"x" * 100_000)
    assert blocks() > before
    del q
    assert blocks() == before


def test_received_arrays_outlive_the_queue():
    q = procession.Queue()
    q.put(np.arange(100_000))
    got = q.get()
    del q
    gc.collect()
    assert (got == np.arange(100_000)).all()
    copy = travel(got)
    assert (copy == got).all()


# ---- arrays that are read-only where they come from ------------------------------------------


def read_only(kind, tmp_path):
    whole = np.arange(20_000, dtype=np.int32)
    if kind == "mapped file":
        whole.tofile(tmp_path / "array")
        return np.asarray(np.memmap(tmp_path / "array", np.int32, "r"))
    if kind == "bytes":
        return np.frombuffer(whole.tobytes(), np.int32)
    if kind == "Fortran":
        whole = np.asfortranarray(whole.reshape(100, 200))
    elif kind == "dates":
        whole = whole.astype("M8[s]")
    elif kind == "records":
        whole = np.array([(1, 2.5), (3, 4.5)], "i4,f8")
    elif kind == "nothing":
        whole = whole[:0]
    elif kind == "every second":
        whole = whole[::2]
    elif kind == "small":
        whole = whole[:3]
    whole.flags.writeable = False
    return whole


def double(array, *_):
    array[...] = array + array
    return array


@pytest.mark.parametrize(
    "kind", ["mapped file", "bytes", "Fortran", "records", "dates", "nothing", "every second", "small"]
)
def test_a_read_only_array_is_the_receivers_to_change(kind, tmp_path):
    """As with the standard library, whose pickles copy arrays."""
    sent = read_only(kind, tmp_path)
    kept = sent.copy()
    by_value = travel((sent, lambda: None))[0]
    in_a_container = procession.shared.list([sent])[0]
    for got in (travel(sent), travel([sent, sent])[1], by_value, in_a_container):
        assert got.flags.writeable
        assert (got.dtype, got.shape) == (sent.dtype, sent.shape)
        assert kind != "Fortran" or got.flags.f_contiguous
        np.testing.assert_array_equal(got, sent)
        got[...] = np.zeros_like(got)
    assert not sent.flags.writeable
    np.testing.assert_array_equal(sent, kept)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork beside the collector, from 3.12 on
def test_tasks_change_read_only_arrays(tmp_path):
    sent = read_only("mapped file", tmp_path)
    large = np.frombuffer(bytes(1 << 21), np.int64)
    with fork.Pool(2) as pool:
        np.testing.assert_array_equal(pool.apply(double, (sent,)), 2 * sent)
        assert [a.flags.writeable for a in pool.map(double, [large] * 4, 1)] == [True] * 4
        made = pool.apply(double, (sent, lambda: None))
        np.testing.assert_array_equal(made, 2 * sent)
    pool.join()


# ---- memory that is filled where it is made ---------------------------------------------------


def test_memory_has_its_pieces_where_they_were_put():
    memory = _native.Memory._holding(
        5000, [(0, b"abc"), (64, np.arange(500, dtype=np.uint8)), (4996, b"last"), (9, b"")]
    )
    with memoryview(memory) as view:
        assert bytes(view[:3]) == b"abc" and bytes(view[4996:]) == b"last"
        assert bytes(view[64:564]) == np.arange(500, dtype=np.uint8).tobytes()
    for size, piece in ((3, (0, b"1234")), (3, (1, b"123")), (3, (2**64 - 1, b"12"))):
        with pytest.raises(ValueError, match="does not fit"):
            _native.Memory._holding(size, [piece])
