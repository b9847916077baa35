"""Array."""

import ctypes
import importlib
import threading

import pytest
from children import finish

CODES = "bBhHiIlLqQfd"


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_double)]


@pytest.fixture
def shared(mp):
    return importlib.import_module(f"{mp.__name__}.sharedctypes")


def outcome(function, *args):
    """What a call returns, or the type of what it raises."""
    try:
        return function(*args)
    except Exception as error:
        return type(error), str(error)


KEYS = [0, 1, -1, -5, True, 5, -6, 2**70, None, "x", 1.5, slice(None), slice(1, 3), slice(-2, None), slice(3, 1),
        slice(None, None, 2), slice(None, None, -1), slice(0, 10**9), slice(-100, 2), slice(1, 1)]  # fmt: skip


@pytest.mark.parametrize("code", CODES)
def test_reading_is_as_ctypes_does_it(ctx, code):
    values = [1, 2, 3, 0, 100]
    array = ctx.Array(code, values)
    plain = (type(ctx.RawValue(code)) * 5)(*values)
    assert len(array) == 5
    assert list(array) == list(plain)
    for key in KEYS:
        assert repr(outcome(array.__getitem__, key)) == repr(outcome(plain.__getitem__, key)), key


VALUES = [0, 7, -1, 300, 2**40, 2**70, True, 1.5, "x", b"x", None, [], [1, 2], (1, 2), [1, 2, 3, 4, 5],
          [1, "x"], (1.5, 2), range(2), range(5), b"ab", b"abcde", "ab"]  # fmt: skip


@pytest.mark.parametrize("type_", [ctypes.c_bool, ctypes.c_char, ctypes.c_wchar, ctypes.c_byte, ctypes.c_uint16,
                                   ctypes.c_int, ctypes.c_ulong, ctypes.c_float, ctypes.c_double])  # fmt: skip
def test_writing_is_as_ctypes_does_it(ctx, type_):
    for key in KEYS:
        for value in VALUES:
            array, plain = ctx.Array(type_, 5), (type_ * 5)()
            expected = outcome(plain.__setitem__, key, value)
            assert outcome(array.__setitem__, key, value) == expected, (key, value)
            assert array[:] == plain[:], (key, value)


def test_initial_values(ctx):
    assert ctx.Array("i", 3)[:] == [0, 0, 0]
    assert ctx.Array("i", range(3))[:] == [0, 1, 2]
    assert ctx.Array("d", (1, 2.5))[:] == [1.0, 2.5]
    assert ctx.Array("i", 0)[:] == []
    for wrong in (-1, ["x"], 1.5, None):
        with pytest.raises((ValueError, TypeError)):
            ctx.Array("i", wrong)
    with pytest.raises(TypeError):
        ctx.Array("z", 1)


def test_characters(ctx):
    array = ctx.Array("c", b"hello")
    assert (array.value, array.raw, array[0], array[1:3]) == (b"hello", b"hello", b"h", b"el")
    array.value = b"ab"
    assert (array.value, array.raw) == (b"ab", b"ab\0lo")
    array.raw = b"world"
    array[0:2] = b"WO"
    assert array.value == b"WOrld"
    with pytest.raises(ValueError):
        array.value = b"too long"


def test_wide_characters(ctx):
    array = ctx.Array("u", "h\u00e9llo")
    assert (array[:], array[1], array[1:3]) == ("h\u00e9llo", "\u00e9", "\u00e9l")


def test_items_cannot_be_deleted(ctx):
    with pytest.raises(AttributeError):
        del ctx.Array("i", 3)[0]


def test_locks(ctx, shared):
    array = ctx.Array("i", 3)
    with array.get_lock(), array:
        array[0] = 5
    assert array.acquire() is True
    assert array.release() is None
    lock = ctx.Lock()
    assert ctx.Array("i", 3, lock=lock).get_lock() is lock
    assert not hasattr(ctx.Array("i", 3, lock=False), "get_lock")
    assert isinstance(ctx.Array("i", 3, lock=None), shared.SynchronizedArray)
    assert isinstance(ctx.Array("c", 3), shared.SynchronizedString)
    assert isinstance(array, shared.SynchronizedBase)
    with pytest.raises(AttributeError):
        ctx.Array("i", 3, lock=5)


def test_who_holds_the_lock_excludes_all(ctx):
    array = ctx.Array("i", 3)
    seen = []
    with array.get_lock():
        thread = threading.Thread(target=lambda: seen.append(array[0]))
        thread.start()
        thread.join(0.05)
        assert seen == []
        array[0] = 9
    thread.join()
    assert seen == [9]


def test_the_object_is_a_view(ctx):
    array = ctx.Array("i", [1, 2, 3])
    obj = array.get_obj()
    assert isinstance(obj, ctypes.Array)
    obj[1] = 20
    assert array[:] == [1, 20, 3]
    view = memoryview(obj).cast("B").cast("i")
    view[2] = 30
    assert array[2] == 30


def test_numpy_sees_the_memory(ctx):
    numpy = pytest.importorskip("numpy")
    array = ctx.Array("d", 10)
    seen = numpy.frombuffer(array.get_obj())
    seen[:] = range(10)
    assert array[:] == list(map(float, range(10)))
    array[0] = 5
    assert seen[0] == 5


def test_structures_and_nested_arrays(ctx, shared):
    points = ctx.Array(Point, [(1, 2.0), (3, 4.0)])
    points[0].x = 10
    assert [(p.x, p.y) for p in points] == [(10, 2.0), (3, 4.0)]
    rows = ctx.Array(ctypes.c_int * 3, 2)
    rows[1][2] = 7
    assert rows[1][:] == [0, 0, 7]
    duplicate = shared.copy(points.get_obj())
    duplicate[0].x = 1
    assert points[0].x == 10


def test_children_write_it(ctx, start):
    array = ctx.Array("q", 4)

    def add(index):
        for _ in range(500):
            with array.get_lock():
                array[index] += 1
                array[3] += 1

    children = [start(ctx, add, index) for index in range(3)]
    assert [finish(child) for child in children] == [0, 0, 0]
    assert array[:] == [500, 500, 500, 1500]
