"""Value, RawValue, Array and their like."""

import ctypes
import importlib
import threading

import pytest
from children import finish

TYPECODES = "cubBhHiIlLqQfd"
INTEGERS = "bBhHiIlLqQ"


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_double)]


class Celsius(ctypes.c_double):
    pass


@pytest.fixture
def shared(mp):
    return importlib.import_module(f"{mp.__name__}.sharedctypes")


def outcome(function, *args):
    """What a call returns, or the type and text of what it raises."""
    try:
        return function(*args)
    except Exception as error:
        return type(error), str(error)


def in_thread(function):
    results = []
    thread = threading.Thread(target=lambda: results.append(outcome(function)))
    thread.start()
    thread.join()
    return results[0]


@pytest.mark.parametrize("code", TYPECODES)
@pytest.mark.parametrize("make", ["Value", "RawValue"])
def test_a_new_value_is_zero(ctx, make, code):
    zero = {"c": b"\0", "u": "\0"}.get(code, 0)
    value = getattr(ctx, make)(code)
    assert value.value == zero
    assert type(value.value) is type(ctypes.c_double().value if code in "fd" else zero)


@pytest.mark.parametrize("code", INTEGERS)
@pytest.mark.parametrize("make", ["Value", "RawValue"])
def test_integers_wrap_as_ctypes_do(ctx, make, code):
    type_ = type(ctx.RawValue(code))
    value = getattr(ctx, make)(code)
    for number in (
        0,
        1,
        -1,
        127,
        128,
        255,
        256,
        2**31,
        2**32 - 1,
        2**63,
        2**64 - 1,
        2**64,
        -(2**63),
        2**100,
        True,
    ):
        value.value = number
        assert value.value == type_(number).value
        assert getattr(ctx, make)(code, number).value == type_(number).value


SAMPLES = [
    0,
    1,
    -1,
    1.5,
    True,
    None,
    "a",
    "ab",
    "",
    b"a",
    b"ab",
    b"",
    [],
    object,
    2**70,
    float("nan"),
    "\U0001f40d",
]


@pytest.mark.parametrize(
    "type_",
    [
        getattr(ctypes, f"c_{name}")
        for name in [
            "bool",
            "char",
            "wchar",
            "byte",
            "ubyte",
            "short",
            "ushort",
            "int",
            "uint",
            "long",
            "ulong",
            "longlong",
            "ulonglong",
            "float",
            "double",
        ]
    ],
)
def test_what_can_be_stored_and_what_is_raised(ctx, type_):
    for sample in SAMPLES:
        plain = type_()
        expected = outcome(setattr, plain, "value", sample)
        value = ctx.Value(type_)
        assert outcome(setattr, value, "value", sample) == expected, sample
        assert repr(value.value) == repr(plain.value), sample
        if expected is None:
            assert repr(ctx.Value(type_, sample).value) == repr(type_(sample).value)
        else:
            assert outcome(ctx.Value, type_, sample) == outcome(type_, sample)


def test_a_value_cannot_be_deleted(ctx):
    with pytest.raises((AttributeError, TypeError)):
        del ctx.Value("i").value


@pytest.mark.parametrize("args", [(), ("x",), (3,), (None,), (object(),), ("",), ("ii",), (int,)])
def test_wrong_typecodes(mp, ctx, args):
    if mp.__name__ != "multiprocessing":
        import multiprocessing

        standard = multiprocessing.get_context("fork")
        assert outcome(ctx.Value, *args)[0] is outcome(standard.Value, *args)[0]
        assert outcome(ctx.RawValue, *args)[0] is outcome(standard.RawValue, *args)[0]
    for make in (ctx.Value, ctx.RawValue):
        with pytest.raises((TypeError, AttributeError)):
            make(*args)


def test_too_many_initial_values(ctx):
    with pytest.raises(TypeError):
        ctx.Value("i", 1, 2)
    with pytest.raises(TypeError):
        ctx.RawValue("i", 1, 2)


def test_unhashable_typecode(ctx):
    with pytest.raises(TypeError, match="unhashable"):
        ctx.Value([])


class TestLocks:
    def test_the_lock_is_recursive_and_the_values_own(self, ctx):
        value = ctx.Value("i", 5)
        lock = value.get_lock()
        assert repr(lock) == "<RLock(None, 0)>"
        with lock, lock, value:
            assert repr(lock) == "<RLock(MainProcess, 3)>"
            value.value += 1
        assert value.value == 6
        assert value.acquire() is True
        assert value.release() is None
        assert value.acquire(False) is True
        value.release()

    @pytest.mark.parametrize("lock", [True, None])
    def test_asking_for_the_default(self, ctx, lock):
        assert repr(ctx.Value("i", lock=lock).get_lock()) == "<RLock(None, 0)>"

    def test_a_given_lock_is_used(self, ctx):
        lock = ctx.Lock()
        value = ctx.Value("i", 5, lock=lock)
        assert value.get_lock() is lock
        assert value.value == 5
        with value:
            assert lock.acquire(False) is False

    def test_a_given_lock_is_called_through_python(self, ctx):
        calls = []

        class Counting:
            def acquire(self, *args):
                calls.append("acquire")
                return True

            def release(self):
                calls.append("release")

            def __enter__(self):
                return self.acquire()

            def __exit__(self, *exc):
                self.release()

        value = ctx.Value("i", 5, lock=Counting())
        value.value = value.value + 1
        assert calls == ["acquire", "release"] * 2

    def test_no_lock(self, ctx):
        value = ctx.Value("i", 5, lock=False)
        assert type(value) is ctypes.c_int
        assert not hasattr(value, "get_lock")
        assert type(ctx.RawValue("i", 5)) is ctypes.c_int

    @pytest.mark.parametrize("lock", ["navalue", 0, 3, object()])
    def test_what_is_no_lock(self, ctx, lock):
        with pytest.raises(AttributeError, match="has no method 'acquire'"):
            ctx.Value("i", 5, lock=lock)
        with pytest.raises(AttributeError, match="has no method 'acquire'"):
            ctx.Array("i", 5, lock=lock)

    def test_releasing_too_often(self, ctx):
        with pytest.raises(AssertionError, match="not owned by thread"):
            ctx.Value("i").release()

    def test_the_holder_excludes_reads_and_writes(self, ctx):
        value = ctx.Value("i", 1)
        attempts = {"read": lambda: value.value, "write": lambda: setattr(value, "value", 7)}
        self.check_excluded(value, attempts)

    @staticmethod
    def check_excluded(value, attempts):
        for name, attempt in attempts.items():
            began, ended = threading.Event(), threading.Event()

            def run(attempt=attempt, began=began, ended=ended):
                began.set()
                attempt()
                ended.set()

            with value.get_lock():
                thread = threading.Thread(target=run)
                thread.start()
                began.wait()
                assert not ended.wait(0.05), name
            thread.join()
            assert ended.is_set()


def test_a_holder_in_another_process_excludes(ctx, start, gate):
    value, held, done = ctx.Value("i", 1), gate(), gate()

    def hold():
        with value.get_lock():
            held.open()
            done.wait()
            value.value = 2

    child = start(ctx, hold)
    held.wait()
    assert value.acquire(False) is False
    done.open()
    with value:
        pass
    assert finish(child) == 0
    assert value.value == 2


def test_children_write_what_parents_read(ctx, start):
    values = [ctx.Value(code) for code in "idq"] + [ctx.RawValue("i"), ctx.Value("i", lock=False)]
    array = ctx.Array("i", 3)

    def write():
        for number, value in enumerate(values, 10):
            value.value = number
        array[1] = 99

    assert finish(start(ctx, write)) == 0
    assert [value.value for value in values] == [10, 11, 12, 13, 14]
    assert array[:] == [0, 99, 0]


def test_no_increment_is_lost(ctx, start):
    value = ctx.Value("l", 0)

    def add():
        for _ in range(1000):
            with value.get_lock():
                value.value += 1

    assert [finish(child) for child in [start(ctx, add) for _ in range(3)]] == [0, 0, 0]
    assert value.value == 3000


def test_the_object_shares_the_values_memory(ctx):
    value = ctx.Value("i", 5)
    obj = value.get_obj()
    assert type(obj) is ctypes.c_int
    obj.value = 6
    assert value.value == 6
    value.value = 7
    assert obj.value == 7
    assert value.get_obj().value == 7


def test_repr(ctx):
    assert repr(ctx.Value("i", 5)) == "<Synchronized wrapper for c_int(5)>"
    assert repr(ctx.Value("i", 5, lock=ctx.Lock())) == "<Synchronized wrapper for c_int(5)>"
    assert repr(ctx.Value("d", 1.5)) == "<Synchronized wrapper for c_double(1.5)>"
    assert repr(ctx.RawValue("i", 5)) == "c_int(5)"


def test_a_subclass_of_a_plain_type_keeps_its_class(ctx):
    value = ctx.Value(Celsius, 36.6)
    assert type(value.get_obj()) is Celsius
    assert repr(ctx.RawValue(Celsius, 1)).startswith("<Celsius")


def test_byte_order_is_kept(ctx):
    swapped = ctypes.c_int.__ctype_be__
    value = ctx.Value(swapped, 1)
    assert bytes(value.get_obj()) == b"\0\0\0\1"
    assert value.value == 1


def test_long_double(ctx):
    value = ctx.Value(ctypes.c_longdouble, 1.25)
    value.value += 1
    assert value.value == 2.25


class TestStructures:
    def test_fields_take_the_lock(self, ctx):
        point = ctx.Value(Point, 3, 4.5)
        point.x += 1
        assert (point.x, point.y) == (4, 4.5)
        assert type(point.get_obj()) is Point
        assert type(point).__name__ == "SynchronizedPoint"
        assert type(ctx.Value(Point)) is type(point)
        TestLocks.check_excluded(point, {"read": lambda: point.x, "write": lambda: setattr(point, "y", 1.0)})

    def test_raw(self, ctx):
        point = ctx.RawValue(Point, 3)
        assert (type(point), point.x, point.y) == (Point, 3, 0.0)

    def test_arrays_of_structures(self, ctx):
        points = ctx.Array(Point, [(1, 2.0), (3, 4.0)], lock=False)
        assert [(p.x, p.y) for p in points] == [(1, 2.0), (3, 4.0)]


class TestArrays:
    def test_sizes_and_initialisers(self, ctx):
        assert ctx.Array("i", 3)[:] == [0, 0, 0]
        assert ctx.Array("d", [1, 2])[:] == [1.0, 2.0]
        assert len(ctx.RawArray("i", range(10))) == 10
        assert len(ctx.Array("i", 0)) == 0
        assert isinstance(ctx.RawArray("i", 3), ctypes.c_int * 3)

    @pytest.mark.parametrize("size", [-1, -5])
    def test_negative_sizes(self, ctx, size):
        with pytest.raises(ValueError):
            ctx.Array("i", size)

    def test_items_and_slices(self, ctx):
        array = ctx.Array("i", range(5))
        array[1:3] = [10, 20]
        array[-1] = 7
        assert list(array) == [0, 10, 20, 3, 7]
        with pytest.raises(IndexError):
            array[5]
        assert array.get_lock().acquire(False)
        array.get_lock().release()

    def test_strings(self, ctx):
        text = ctx.Array("c", b"hello")
        assert (text.value, text.raw, len(text)) == (b"hello", b"hello", 5)
        text.value = b"hi"
        assert text.raw == b"hi\0lo"
        assert type(text).__name__ == "SynchronizedString"

    def test_given_locks(self, ctx):
        lock = ctx.Lock()
        assert ctx.Array("i", 3, lock=lock).get_lock() is lock
        assert not hasattr(ctx.Array("i", 3, lock=False), "get_lock")


class TestHelpers:
    def test_copy(self, shared, ctx):
        original = ctx.RawValue(Point, 1, 2.5)
        duplicate = shared.copy(original)
        original.x = 9
        assert (duplicate.x, duplicate.y) == (1, 2.5)
        array = shared.copy(ctx.RawArray("i", [1, 2]))
        assert list(array) == [1, 2]

    def test_synchronized(self, shared, ctx):
        raw = ctx.RawValue("i", 3)
        value = shared.synchronized(raw)
        assert value.get_obj() is raw
        value.value += 1
        assert raw.value == 4
        with pytest.raises(AssertionError, match="object already synchronized"):
            shared.synchronized(value)
        with pytest.raises(AssertionError, match="object already synchronized"):
            shared.synchronized(ctx.Value("i"))

    def test_classes(self, shared, ctx):
        assert isinstance(ctx.Value("i"), shared.SynchronizedBase)
        assert isinstance(ctx.Array("i", 1), shared.SynchronizedArray)
        assert isinstance(ctx.Array("c", 1), shared.SynchronizedString)

    def test_functions_of_the_module(self, shared):
        assert shared.Value("i", 3).value == 3
        assert shared.RawValue("i", 3).value == 3
        assert shared.Array("i", [3])[0] == 3
        assert shared.RawArray("i", [3])[0] == 3
