"""Event."""

import re
import threading
import time

import pytest
from children import finish


def test_set_and_clear(ctx):
    event = ctx.Event()
    assert event.is_set() is False
    assert event.set() is None
    assert event.is_set() is True
    event.set()
    assert event.is_set() is True
    assert event.clear() is None
    assert event.is_set() is False
    event.clear()
    assert event.is_set() is False


@pytest.mark.parametrize("timeout", [0, -1, 0.0, 0.01])
def test_waiting_for_what_does_not_happen(ctx, timeout):
    assert ctx.Event().wait(timeout) is False


def test_a_timeout_is_waited_out(ctx):
    began = time.monotonic()
    assert ctx.Event().wait(timeout=0.15) is False
    assert time.monotonic() - began >= 0.15


@pytest.mark.parametrize("timeout", [None, 0, -1, 5])
def test_waiting_for_what_has_happened(ctx, timeout):
    event = ctx.Event()
    event.set()
    assert event.wait(timeout) is True


def test_a_timeout_that_is_no_number(ctx):
    with pytest.raises(TypeError):
        ctx.Event().wait("soon")


def test_repr(ctx):
    event = ctx.Event()
    assert re.fullmatch(r"<Event at 0x[0-9a-f]+ unset>", repr(event))
    event.set()
    assert re.fullmatch(r"<Event at 0x[0-9a-f]+ set>", repr(event))


def test_all_waiters_wake(ctx, start):
    event, awake = ctx.Event(), ctx.Semaphore(0)

    def wait():
        assert event.wait(20) is True
        awake.release()

    children = [start(ctx, wait) for _ in range(3)]
    threads = [threading.Thread(target=wait) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert awake.acquire(timeout=0.05) is False
    event.set()
    for thread in threads:
        thread.join()
    assert [finish(child) for child in children] == [0, 0, 0]
    assert awake.get_value() == 5


def test_ping_pong(ctx, start):
    ping, pong = ctx.Event(), ctx.Event()

    def answer():
        for _ in range(50):
            assert ping.wait(20)
            ping.clear()
            pong.set()

    child = start(ctx, answer)
    for _ in range(50):
        ping.set()
        assert pong.wait(20)
        pong.clear()
    assert finish(child) == 0
