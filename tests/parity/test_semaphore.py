"""Semaphore and BoundedSemaphore."""

import errno
import importlib
import threading
import time

import pytest
from children import finish

KINDS = ["Semaphore", "BoundedSemaphore"]
TOO_MANY = r"^semaphore or lock released too many times$"


@pytest.fixture(params=KINDS)
def make(ctx, request):
    return getattr(ctx, request.param)


def test_permits_are_counted(make):
    semaphore = make(2)
    assert semaphore.get_value() == 2
    assert semaphore.acquire() is True
    assert semaphore.get_value() == 1
    with semaphore as entered:
        assert entered is True
        assert semaphore.get_value() == 0
        assert semaphore.acquire(False) is False
    assert semaphore.release() is None
    assert semaphore.get_value() == 2


def test_the_default_is_one(make):
    assert make().get_value() == 1


@pytest.mark.parametrize("args", [(False,), (True, 0), (True, -1), (True, 0.01), (False, 5)])
def test_without_permits_an_attempt_gives_up(make, args):
    assert make(0).acquire(*args) is False


def test_a_timeout_is_waited_out(make):
    began = time.monotonic()
    assert make(0).acquire(timeout=0.15) is False
    assert time.monotonic() - began >= 0.15


@pytest.mark.parametrize("value", ["x", None, 1.5])
def test_values_that_are_no_numbers(make, value):
    with pytest.raises(TypeError):
        make(value)


@pytest.mark.parametrize("value", [-1, -(2**31)])
def test_negative_values(make, value):
    with pytest.raises(OSError) as caught:
        make(value)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("value", [2**31, 2**40, -(2**40)])
def test_values_out_of_range(make, value):
    with pytest.raises(OverflowError):
        make(value)


def test_wrong_arguments(make):
    with pytest.raises(TypeError):
        make(1, 2)
    with pytest.raises(TypeError):
        make(1).acquire(1, 2, 3)


def test_releases_of_an_unbounded_one(ctx):
    semaphore = ctx.Semaphore(0)
    for value in (1, 2, 3):
        assert semaphore.release() is None
        assert semaphore.get_value() == value


def test_the_largest_value(ctx):
    semaphore = ctx.Semaphore(2**31 - 1)
    with pytest.raises(ValueError, match=TOO_MANY):
        semaphore.release()
    assert semaphore.get_value() == 2**31 - 1


@pytest.mark.parametrize("value", [0, 1, 3])
def test_a_bounded_one_refuses_one_release_too_many(ctx, value):
    semaphore = ctx.BoundedSemaphore(value)
    with pytest.raises(ValueError, match=TOO_MANY):
        semaphore.release()
    assert semaphore.get_value() == value


def test_repr(ctx):
    assert repr(ctx.Semaphore(3)) == "<Semaphore(value=3)>"
    bounded = ctx.BoundedSemaphore(3)
    bounded.acquire()
    assert repr(bounded) == "<BoundedSemaphore(value=2, maxvalue=3)>"


def test_what_the_standard_librarys_code_asks(make):
    semaphore = make(2)
    semlock = semaphore._semlock
    assert (semlock.kind, semlock.name is None or isinstance(semlock.name, str)) == (1, True)
    assert (semlock._get_value(), semlock._is_zero(), semlock._is_mine(), semlock._count()) == (
        2, False, False, 0,
    )  # fmt: skip
    with semaphore, semaphore:
        assert (semlock._get_value(), semlock._is_zero(), semlock._is_mine(), semlock._count()) == (
            0, True, True, 2,
        )  # fmt: skip


def test_a_bounded_semaphore_is_a_semaphore(mp, ctx):
    module = importlib.import_module(f"{mp.__name__}.synchronize")
    assert isinstance(ctx.BoundedSemaphore(), module.Semaphore)
    assert type(mp.Semaphore()) is type(ctx.Semaphore()) is module.Semaphore


def test_a_release_in_another_thread_wakes_a_waiter(make):
    semaphore = make(1)
    semaphore.acquire()
    threading.Timer(0.05, semaphore.release).start()
    assert semaphore.acquire(timeout=20) is True
    semaphore.release()


def test_children_signal_their_parent(ctx, start):
    done = ctx.Semaphore(0)
    children = [start(ctx, done.release) for _ in range(3)]
    for _ in children:
        assert done.acquire(timeout=20) is True
    assert [finish(child) for child in children] == [0, 0, 0]
    assert done.get_value() == 0


def test_no_more_are_inside_than_permits(ctx, start):
    semaphore, inside, most = ctx.Semaphore(2), ctx.Value("i"), ctx.Value("i")

    def work():
        for _ in range(100):
            with semaphore:
                with inside.get_lock():
                    inside.value += 1
                    most.value = max(most.value, inside.value)
                with inside.get_lock():
                    inside.value -= 1

    children = [start(ctx, work) for _ in range(4)]
    assert [finish(child) for child in children] == [0] * 4
    assert 1 <= most.value <= 2
    assert semaphore.get_value() == 2
