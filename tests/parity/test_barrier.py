"""Barrier."""

import re
import threading

import pytest
from children import finish


def parties(function, count):
    """What a function returns or raises in each of so many threads."""
    outcomes = []

    def run():
        try:
            outcomes.append(function())
        except BaseException as error:
            outcomes.append(type(error))

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_a_new_one(ctx):
    barrier = ctx.Barrier(3)
    assert (barrier.parties, barrier.n_waiting, barrier.broken) == (3, 0, False)
    assert isinstance(barrier, threading.Barrier)
    assert re.fullmatch(r"<\w+\.synchronize\.Barrier at 0x[0-9a-f]+: waiters=0/3>", repr(barrier))


def test_one_party_never_waits(ctx):
    calls = []
    barrier = ctx.Barrier(1, action=lambda: calls.append(1))
    assert [barrier.wait() for _ in range(3)] == [0, 0, 0]
    assert len(calls) == 3


def test_all_go_together_again_and_again(ctx):
    barrier = ctx.Barrier(3)
    for _ in range(20):
        assert sorted(parties(lambda: barrier.wait(20), 3)) == [0, 1, 2]
    assert (barrier.n_waiting, barrier.broken) == (0, False)


def test_processes(ctx, start):
    barrier, total = ctx.Barrier(3), ctx.Value("i")

    def run():
        for turn in range(1, 21):
            with total.get_lock():
                total.value += 1
            barrier.wait(20)
            assert total.value == 3 * turn
            barrier.wait(20)

    children = [start(ctx, run) for _ in range(3)]
    assert [finish(child) for child in children] == [0, 0, 0]


def test_the_action_runs_once_before_all_go(ctx):
    calls = []
    barrier = ctx.Barrier(2, lambda: calls.append(barrier.n_waiting >= 1))
    parties(lambda: barrier.wait(20), 2)
    assert calls == [True]


def test_an_action_that_raises_breaks_it(ctx):
    barrier = ctx.Barrier(2, action=lambda: 1 / 0)
    outcomes = parties(lambda: barrier.wait(20), 2)
    assert set(outcomes) == {ZeroDivisionError, threading.BrokenBarrierError}
    assert barrier.broken is True
    assert repr(barrier).endswith(": broken>")


@pytest.mark.parametrize("where", ["wait", "barrier"])
def test_a_timeout_breaks_it(ctx, where):
    barrier = ctx.Barrier(2, timeout=0.02 if where == "barrier" else None)
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait(0.02 if where == "wait" else None)
    assert barrier.broken is True
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()


def test_reset_makes_it_whole(ctx):
    barrier = ctx.Barrier(2)
    barrier.abort()
    assert barrier.broken is True
    barrier.reset()
    assert (barrier.broken, barrier.n_waiting) == (False, 0)
    assert sorted(parties(lambda: barrier.wait(20), 2)) == [0, 1]


@pytest.mark.parametrize(("call", "broken"), [("abort", True), ("reset", False)])
def test_who_waits_is_told(ctx, start, eventually, call, broken):
    barrier = ctx.Barrier(2)

    def wait():
        with pytest.raises(threading.BrokenBarrierError):
            barrier.wait(20)

    child = start(ctx, wait)
    eventually(lambda: barrier.n_waiting == 1)
    getattr(barrier, call)()
    assert finish(child) == 0
    assert barrier.broken is broken


def test_without_parties(ctx):
    with pytest.raises(TypeError):
        ctx.Barrier()
