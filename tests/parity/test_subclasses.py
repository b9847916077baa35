"""Subclasses of the synchronisation primitives: `__init__` with other arguments."""

import importlib

import pytest
from children import finish


@pytest.fixture
def classes(mp):
    """The module that has the classes."""
    return importlib.import_module(f"{mp.__name__}.synchronize")


def with_init(face, *arguments, **options):
    """A subclass whose `__init__` takes a name, and gives our class these arguments."""

    class Named(face):
        def __init__(self, name, *, ctx):
            super().__init__(*arguments, ctx=ctx, **options)
            self.title = name

    return Named


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_a_lock(classes, ctx, start, kind):
    lock = with_init(getattr(classes, kind))("first", ctx=ctx)
    assert lock.title == "first"
    with lock:
        child = start(ctx, lambda: finish_with(lock.acquire(timeout=0.02)))
        assert finish(child) == 0
    assert lock.acquire(timeout=1) is True
    lock.release()


def finish_with(status):
    raise SystemExit(int(status))


def test_semaphores(classes, ctx):
    semaphore = with_init(classes.Semaphore, 3)("s", ctx=ctx)
    assert semaphore.get_value() == 3
    semaphore.release()
    assert semaphore.get_value() == 4
    bounded = with_init(classes.BoundedSemaphore, 2)("b", ctx=ctx)
    assert bounded.get_value() == 2
    with pytest.raises(ValueError, match="released too many times"):
        bounded.release()


def test_an_event(classes, ctx):
    event = with_init(classes.Event)("e", ctx=ctx)
    assert event.wait(0) is False
    event.set()
    assert event.wait(0) is True


def test_a_condition(classes, ctx):
    lock = ctx.Lock()
    condition = with_init(classes.Condition, lock)("c", ctx=ctx)
    assert condition._lock is lock
    with condition:
        assert condition.wait(0.01) is False
    default = with_init(classes.Condition)("d", ctx=ctx)
    with default, default:
        default.notify_all()


def test_a_barrier(classes, ctx):
    calls = []
    barrier = with_init(classes.Barrier, 1, lambda: calls.append(1))("b", ctx=ctx)
    assert (barrier.parties, barrier.wait(), calls) == (1, 0, [1])


def test_a_condition_calls_what_stands_in_its_lock(ctx):
    lock, calls = ctx.Lock(), []
    release = lock.release

    def noting_release():
        calls.append("release")
        release()

    lock.release = noting_release
    condition = ctx.Condition(lock)
    with lock:
        assert condition.wait(0.01) is False
        assert calls == ["release"]
