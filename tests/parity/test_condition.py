"""Condition."""

import threading
import time

import pytest
from children import finish


def elsewhere(function):
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def until_waiting(cond, count):
    give_up = time.monotonic() + 20
    while cond._sleeping_count.get_value() - cond._woken_count.get_value() != count:
        assert time.monotonic() < give_up
        time.sleep(0.002)


def test_without_the_lock(ctx):
    cond = ctx.Condition()
    with pytest.raises(AssertionError, match=r"^must acquire\(\) condition before using wait\(\)$"):
        cond.wait()
    for call in (cond.notify, cond.notify_all):
        with pytest.raises(AssertionError, match="^lock is not owned$"):
            call()


@pytest.mark.parametrize("kind", ["Lock", "RLock", None])
def test_it_has_the_locks_methods(ctx, kind):
    lock = kind and getattr(ctx, kind)()
    cond = ctx.Condition(lock)
    with cond as entered:
        assert entered is True
        assert repr(cond).endswith("MainProcess)>, 0)>" if kind == "Lock" else "MainProcess, 1)>, 0)>")
    assert cond.acquire() is True
    assert cond.release() is None
    assert cond.acquire(True, 1) is True
    cond.release()
    if lock is not None:
        assert cond._lock is lock


def test_a_lock_that_is_none(ctx):
    with pytest.raises(AttributeError):
        ctx.Condition(5)


@pytest.mark.parametrize("timeout", [0, -1, 0.01])
def test_a_wait_that_times_out(ctx, timeout):
    cond = ctx.Condition()
    with cond:
        assert cond.wait(timeout) is False
        assert cond._lock._semlock._is_mine()


def test_a_timeout_is_waited_out(ctx):
    cond = ctx.Condition()
    began = time.monotonic()
    with cond:
        assert cond.wait(0.15) is False
    assert time.monotonic() - began >= 0.15


def test_notifying_nobody(ctx):
    cond = ctx.Condition()
    with cond:
        for n in (1, 0, -1, 10**9):
            assert cond.notify(n) is None
        assert cond.notify_all() is None
        assert cond.wait(0) is False  # a notification is not kept


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_the_lock_is_given_back_and_taken_again(ctx, kind):
    cond = ctx.Condition(getattr(ctx, kind)())

    def notify():
        with cond:
            cond.notify()

    with cond:
        thread = elsewhere(notify)
        assert cond.wait(20) is True
        assert cond._lock._semlock._is_mine()
    thread.join()


def test_a_lock_held_twice_is_given_back_twice(ctx):
    cond = ctx.Condition()

    def notify():
        with cond:
            cond.notify_all()

    with cond, cond:
        thread = elsewhere(notify)
        assert cond.wait(20) is True
        assert cond._lock._semlock._count() == 2
    thread.join()
    assert cond._lock._semlock._get_value() == 1


def test_notify_wakes_that_many(ctx, start):
    cond, awake = ctx.Condition(), ctx.Semaphore(0)

    def wait():
        with cond:
            assert cond.wait(20) is True
            awake.release()

    children = [start(ctx, wait) for _ in range(4)]
    until_waiting(cond, 4)
    assert repr(cond).endswith(", 4)>")
    for n, left in ((1, 3), (2, 1)):
        with cond:
            cond.notify(n)
        for _ in range(n):
            assert awake.acquire(timeout=20)
        assert awake.acquire(timeout=0.02) is False
        until_waiting(cond, left)
    with cond:
        cond.notify_all()
    assert [finish(child) for child in children] == [0] * 4


def test_wait_for(ctx, start):
    cond, number = ctx.Condition(), ctx.Value("i", 0)

    def count():
        for _ in range(4):
            with cond:
                number.value += 1
                cond.notify_all()

    with cond:
        assert cond.wait_for(lambda: 0, timeout=0.01) == 0
        assert cond.wait_for(lambda: "yes") == "yes"
        child = start(ctx, count)
        assert cond.wait_for(lambda: number.value == 4, timeout=20) is True
    assert finish(child) == 0


def test_a_lock_of_the_standard_library(ctx, start):
    import multiprocessing

    cond = ctx.Condition(multiprocessing.get_context("fork").Lock())

    def notify():
        with cond:
            cond.notify()

    with cond:
        child = start(ctx, notify)
        assert cond.wait(20) is True
    assert finish(child) == 0
