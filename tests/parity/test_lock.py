"""Lock and RLock."""

import threading
import time

import pytest
from children import finish

KINDS = ["Lock", "RLock"]


@pytest.fixture(params=KINDS)
def lock(ctx, request):
    return getattr(ctx, request.param)()


def in_thread(function):
    """What a function returns or raises in another thread."""
    outcome = []

    def run():
        try:
            outcome.append(function())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return outcome[0]


def test_acquire_and_release(lock):
    assert lock.acquire() is True
    assert lock.release() is None
    assert lock.acquire(True) is True
    assert lock.release() is None
    assert lock.acquire(False) is True
    lock.release()


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        ((True,), {}),
        ((True, None), {}),
        ((True, 1.5), {}),
        ((), {"block": True, "timeout": 1}),
        ((False, 0), {}),
        ((1,), {}),
        ((), {"timeout": -1}),
        ((), {"timeout": 0}),
        ((False, None), {}),
    ],
)
def test_acquire_takes_a_free_lock_with_any_arguments(lock, args, kwargs):
    assert lock.acquire(*args, **kwargs) is True
    lock.release()


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((True, "soon"), {}),
        ((True, []), {}),
        ((), {"tmieout": 1}),
        ((1, 2, 3), {}),
        ((), {"timeout": object()}),
    ],
)
def test_acquire_with_wrong_arguments_raises_and_takes_nothing(lock, args, kwargs):
    with pytest.raises(TypeError):
        lock.acquire(*args, **kwargs)
    assert lock._semlock._is_zero() is False


@pytest.mark.parametrize(
    "args", [(False,), (True, 0), (True, -1), (True, 0.01), (False, None), (False, 5), (True, -0.5)]
)
def test_acquire_of_a_lock_that_another_thread_holds_gives_up(lock, args):
    lock.acquire()
    assert in_thread(lambda: lock.acquire(*args)) is False
    lock.release()


def test_a_timeout_is_waited_out(lock):
    lock.acquire()

    def wait():
        began = time.monotonic()
        assert lock.acquire(timeout=0.15) is False
        return time.monotonic() - began

    assert in_thread(wait) >= 0.15
    lock.release()


def test_with_returns_true_and_releases(lock):
    with lock as entered:
        assert entered is True
        assert in_thread(lambda: lock.acquire(False)) is False
    assert in_thread(lambda: lock.acquire(False)) is True


def test_with_releases_when_the_body_raises(ctx):
    lock = ctx.Lock()
    with pytest.raises(ZeroDivisionError), lock:
        1 / 0
    assert lock.acquire(False)
    lock.release()


def test_a_lock_excludes_its_own_thread(ctx):
    lock = ctx.Lock()
    lock.acquire()
    assert lock.acquire(False) is False
    assert lock.acquire(timeout=0.01) is False
    lock.release()


def test_an_rlock_counts(ctx):
    lock = ctx.RLock()
    for depth in range(1, 4):
        assert lock.acquire() is True
        assert lock._semlock._count() == depth
    for _ in range(2):
        lock.release()
        assert in_thread(lambda: lock.acquire(False)) is False
    lock.release()
    assert in_thread(lambda: lock.acquire(False)) is True


def test_releasing_a_free_lock(ctx):
    lock = ctx.Lock()
    with pytest.raises(ValueError, match=r"^semaphore or lock released too many times$"):
        lock.release()
    lock.acquire()
    lock.release()
    with pytest.raises(ValueError, match=r"^semaphore or lock released too many times$"):
        lock.release()


def test_a_double_release_leaves_a_lock_usable(ctx):
    lock = ctx.Lock()
    with pytest.raises(ValueError):
        lock.release()
    assert lock.acquire(False) is True
    assert lock.acquire(False) is False
    lock.release()


def test_releasing_an_rlock_that_is_free_or_anothers(ctx):
    lock = ctx.RLock()
    text = r"^attempt to release recursive lock not owned by thread$"
    with pytest.raises(AssertionError, match=text):
        lock.release()
    lock.acquire()
    error = in_thread(lock.release)
    assert isinstance(error, AssertionError)
    assert str(error) == text.strip("^$")
    lock.release()


def test_anyone_may_release_a_lock(ctx):
    lock = ctx.Lock()
    lock.acquire()
    assert in_thread(lock.release) is None
    assert lock.acquire(False) is True
    lock.release()


def test_a_child_may_release_its_parents_lock(ctx, start):
    lock = ctx.Lock()
    lock.acquire()
    assert finish(start(ctx, lock.release)) == 0
    assert lock.acquire(timeout=5) is True
    lock.release()


def test_a_lock_excludes_other_processes(ctx, start, gate, lock):
    held, done = gate(), gate()

    def hold():
        with lock:
            held.open()
            done.wait()

    child = start(ctx, hold)
    held.wait()
    assert lock.acquire(False) is False
    assert lock.acquire(timeout=0.02) is False
    done.open()
    assert lock.acquire(timeout=20) is True
    lock.release()
    assert finish(child) == 0


def test_a_waiter_gets_the_lock_when_it_is_released(ctx, start, gate, lock):
    waiting, got = gate(), gate()

    def wait():
        waiting.open()
        with lock:
            got.open()

    lock.acquire()
    child = start(ctx, wait)
    waiting.wait()
    assert not got.is_open()
    lock.release()
    got.wait()
    assert finish(child) == 0


def test_no_increment_is_lost(ctx, start, lock):
    counter = ctx.RawValue("i", 0)

    def add():
        for _ in range(2000):
            with lock:
                counter.value += 1

    children = [start(ctx, add) for _ in range(3)]
    assert [finish(child) for child in children] == [0, 0, 0]
    assert counter.value == 6000


class TestSemlock:
    """What the standard library's own code asks of a lock."""

    def test_of_a_lock(self, ctx):
        lock = ctx.Lock()
        semlock = lock._semlock
        assert (semlock.kind, semlock.maxvalue, semlock.name) == (1, 1, None)
        assert (semlock._get_value(), semlock._is_zero(), semlock._is_mine(), semlock._count()) == (
            1,
            False,
            False,
            0,
        )
        with lock:
            assert (semlock._get_value(), semlock._is_zero(), semlock._is_mine(), semlock._count()) == (
                0,
                True,
                True,
                1,
            )
            assert in_thread(semlock._is_mine) is False
            assert in_thread(semlock._count) == 1

    def test_of_an_rlock(self, ctx):
        lock = ctx.RLock()
        semlock = lock._semlock
        assert (semlock.kind, semlock.maxvalue) == (0, 1)
        assert (semlock._get_value(), semlock._is_zero(), semlock._is_mine(), semlock._count()) == (
            1,
            False,
            False,
            0,
        )
        with lock, lock:
            assert (semlock._get_value(), semlock._is_zero(), semlock._is_mine(), semlock._count()) == (
                0,
                True,
                True,
                2,
            )
            assert in_thread(semlock._is_mine) is False
            assert in_thread(semlock._count) == 2

    def test_in_another_process(self, ctx, start, gate, lock):
        held, done = gate(), gate()

        def hold():
            with lock:
                held.open()
                done.wait()

        child = start(ctx, hold)
        held.wait()
        semlock = lock._semlock
        assert (semlock._get_value(), semlock._is_zero(), semlock._is_mine(), semlock._count()) == (
            0,
            True,
            False,
            0,
        )
        done.open()
        assert finish(child) == 0


class TestRepr:
    def test_of_a_lock(self, ctx, start, gate):
        lock = ctx.Lock()
        assert repr(lock) == "<Lock(owner=None)>"
        lock.acquire()
        assert repr(lock) == "<Lock(owner=MainProcess)>"
        lock.release()
        assert self.elsewhere(lock, lambda: repr(lock)) == (
            "<Lock(owner=MainProcess|T1)>",
            "<Lock(owner=SomeOtherThread)>",
        )
        assert self.in_child(ctx, start, gate, lock) == "<Lock(owner=SomeOtherProcess)>"

    def test_of_an_rlock(self, ctx, start, gate):
        lock = ctx.RLock()
        assert repr(lock) == "<RLock(None, 0)>"
        with lock, lock:
            assert repr(lock) == "<RLock(MainProcess, 2)>"
        mine, others = self.elsewhere(lock, lambda: repr(lock))
        assert (mine, others) == ("<RLock(MainProcess|T1, 1)>", "<RLock(SomeOtherThread, nonzero)>")
        assert self.in_child(ctx, start, gate, lock) == "<RLock(SomeOtherProcess, nonzero)>"

    @staticmethod
    def elsewhere(lock, look):
        """As a thread that holds it sees it, and as another."""
        seen, held, done = [], threading.Event(), threading.Event()

        def hold():
            with lock:
                seen.append(look())
                held.set()
                done.wait()

        thread = threading.Thread(target=hold, name="T1")
        thread.start()
        held.wait()
        seen.append(look())
        done.set()
        thread.join()
        return tuple(seen)

    @staticmethod
    def in_child(ctx, start, gate, lock):
        held, done = gate(), gate()

        def hold():
            with lock:
                held.open()
                done.wait()

        child = start(ctx, hold)
        held.wait()
        text = repr(lock)
        done.open()
        assert finish(child) == 0
        return text


def test_a_lock_takes_attributes_and_weak_references(lock):
    import weakref

    lock.purpose = "test"
    assert lock.purpose == "test"
    assert weakref.ref(lock)() is lock


def test_locks_are_compared_by_identity(ctx):
    one, two = ctx.Lock(), ctx.Lock()
    assert one != two
    assert len({one, two, one}) == 2


def test_a_lock_can_be_subclassed(mp, ctx):
    import importlib

    module = importlib.import_module(f"{mp.__name__}.synchronize")

    class Named(module.Lock):
        pass

    lock = Named(ctx=ctx)
    with lock:
        assert repr(lock) == "<Named(owner=MainProcess)>"


def test_locks_of_a_module_and_of_its_contexts_are_one_class(mp, ctx):
    assert type(mp.Lock()) is type(ctx.Lock())
    assert type(mp.RLock()) is type(ctx.RLock())
