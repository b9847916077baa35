"""Shared objects that travel: by pickle, to children of every kind, as items and attributes."""

import ctypes
import multiprocessing
import os
import pathlib
import pickle
import subprocess
import sys
import textwrap
from multiprocessing.reduction import ForkingPickler

import pytest

import procession
from procession import StaleHandleError, _native

_ = multiprocessing.RawValue("i")  # the standard library's heap opens a file at its first object and keeps it


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_double)]


@pytest.mark.parametrize("make", ["Lock", "RLock"])
def test_a_lock_comes_back_as_the_same_lock(make):
    lock = getattr(procession, make)()
    copy = pickle.loads(pickle.dumps(lock))
    assert type(copy) is type(lock)
    with lock:
        assert copy._semlock._is_zero()
    assert not copy._semlock._is_zero()


@pytest.mark.parametrize("code", "cubBhHiIlLqQfd")
def test_a_value_comes_back_as_the_same_value(code):
    value = procession.Value(code)
    copy = pickle.loads(pickle.dumps(value))
    copy.value = {"c": b"x", "u": "x"}.get(code, 7)
    assert value.value == copy.value != procession.Value(code).value
    lock = pickle.loads(pickle.dumps(value.get_lock()))
    with value:
        assert lock._semlock._is_zero()


def test_wrapped_objects_come_back_as_the_same_objects():
    lock = procession.Lock()
    for original in (
        procession.Value("i", 1, lock=lock),
        procession.Value(Point, 1, 2.0),
        procession.Array("i", [1, 2]),
        procession.Array("c", b"ab"),
    ):
        copy = pickle.loads(pickle.dumps(original))
        assert type(copy) is type(original)
        assert bytes(copy.get_obj()) == bytes(original.get_obj())
        ctypes.memset(ctypes.addressof(copy.get_obj()), 7, 1)
        assert bytes(copy.get_obj()) == bytes(original.get_obj())
        with original:
            assert copy.get_lock()._semlock._is_zero()


@pytest.mark.parametrize(
    "make",
    [
        lambda: procession.RawValue("i", 1),
        lambda: procession.RawValue(Point, 1),
        lambda: procession.RawArray("i", 3),
        lambda: procession.Value("i", 1).get_obj(),
    ],
)
def test_raw_objects_come_back_as_the_same_memory(make):
    original = make()
    copy = pickle.loads(ForkingPickler.dumps(original))
    assert type(copy) is type(original)
    ctypes.memset(ctypes.addressof(copy), 7, 1)
    assert bytes(copy) == bytes(original)


def test_the_standard_librarys_raw_objects_go_their_own_way():
    theirs, ours = multiprocessing.RawValue("i", 1), procession.RawValue("i", 2)
    assert pickle.loads(ForkingPickler.dumps(ours)).value == 2
    with pytest.raises(RuntimeError, match="through inheritance"):
        ForkingPickler.dumps(theirs)
    more = multiprocessing.RawValue("i", 1)  # registers the standard library's reducer again
    with pytest.raises(RuntimeError, match="through inheritance"):
        ForkingPickler.dumps(more)
    assert pickle.loads(ForkingPickler.dumps(procession.RawValue("i", 3))).value == 3


def test_plain_ctypes_objects_are_still_copied():
    class Fresh(ctypes.c_int):
        pass

    Fresh.__qualname__ = "Fresh"
    globals()["Fresh"] = Fresh  # pickle finds it by name
    procession.RawValue(Fresh)
    assert pickle.loads(ForkingPickler.dumps(Fresh(5))).value == 5


def test_a_handle_of_an_unknown_arena_is_stale():
    code = "import procession, pickle, sys; sys.stdout.buffer.write(pickle.dumps(procession.Lock()))"
    foreign = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    with pytest.raises(StaleHandleError):
        pickle.loads(foreign)


def test_a_handle_of_a_freed_object_is_stale():
    lock = procession.Lock()
    kind, handle = type(lock), lock._handle()
    del lock
    with pytest.raises(StaleHandleError):
        kind._open(handle)


def test_a_handle_is_no_handle():
    for nonsense in ((), (b"", 0, 0), (b"x" * 16, -1, 0), (b"x" * 16, "0", 0), ("x" * 16, 0, 0)):
        with pytest.raises((TypeError, ValueError, OverflowError, StaleHandleError)):
            type(procession.Lock())._open(nonsense)


PROGRAM = """
    import multiprocessing, procession, sys

    def work(lock, value, again, raw, wrapped, array, nested):
        with lock:
            value.value += 1
            assert again.acquire(False) is False
            raw.value = 5
            wrapped.value += 2
            array[0] = 9
            nested["value"].add(3)

    if __name__ == "__main__":
        module, method = sys.argv[1:]
        lock, value = procession.Lock(), procession.Value("i", 0)
        raw, wrapped = procession.RawValue("i"), procession.Value("d", 0.5, lock=lock)
        wrapped = procession.Value("d", 0.5, lock=procession.RLock())
        array, nested = procession.Array("i", 3), dict(value=procession.Value("q", 1))
        ctx = sys.modules[module].get_context(method)
        for _ in range(2):
            child = ctx.Process(target=work, args=(lock, value, lock, raw, wrapped, array, nested))
            child.start()
            child.join()
            assert child.exitcode == 0, child
        print(value.value, raw.value, wrapped.value, array[:], nested["value"].value)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("module", ["multiprocessing", "procession"])
def test_every_kind_of_child_has_them(tmp_path, module, method):
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(PROGRAM))
    done = subprocess.run(
        [sys.executable, script, module, method], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("2 5 4.5 [9, 0, 0] 7\n", "")


def test_the_parent_may_drop_what_it_sent(tmp_path):
    """The launched process's handle in the parent keeps the objects until the child has them."""
    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent("""
        import procession
        def use(lock, value):
            with lock:
                value.value += 1
                print(value.value)
        if __name__ == "__main__":
            make = procession.get_context("spawn").Process
            make(target=use, args=(procession.Lock(), procession.Value("i"))).start()
    """)
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_through_a_standard_queue():
    queue = multiprocessing.get_context("fork").SimpleQueue()
    lock = procession.Lock()
    queue.put(lock)
    copy = queue.get()
    with copy:
        assert lock._semlock._is_zero()
    queue.close()


def test_a_file_that_is_no_arena_leaves_nothing_mapped():
    fd = os.memfd_create("foreign")
    os.truncate(fd, 256 << 20)
    _native.ensure_arena()

    def left():
        maps = pathlib.Path("/proc/self/maps").read_text()
        return maps.count("foreign"), len(os.listdir("/proc/self/fd"))

    before = left()
    try:
        for _ in range(3):
            with pytest.raises(StaleHandleError, match="this file is not an arena"):
                _native.attach(fd)
        assert left() == before == (0, before[1])
    finally:
        os.close(fd)


def test_a_child_that_could_not_be_asked_about_is_asked_about_again():
    """In a process of its own: it loses the arena's descriptor, and gets it back."""
    code = """
import os, resource
import procession
from procession import ArenaLostError, _native

lock = procession.Lock()
pid = os.fork()
if pid == 0:
    lock.acquire()
    os._exit(0)
os.waitpid(pid, 0)
fd = _native.arena_fd()
saved = os.dup(fd)
os.close(fd)
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))  # no other descriptor can be made either
try:
    _native.reaped()
except ArenaLostError:
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    os.dup2(saved, fd)
    _native.reaped()
    assert _native.statistics()["members"] == 1
    assert not _native.fsck()["garbage"]
    print("swept")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "swept\n", done.stderr
