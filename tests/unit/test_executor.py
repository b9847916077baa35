"""ProcessPoolExecutor: concurrent.futures' interface, and what it does when workers die."""

import asyncio
import concurrent.futures
import functools
import os
import pickle
import signal
import time

import pytest
import tasks

import procession
from procession.errors import WorkerDiedError
from procession.futures import BrokenProcessPool, ProcessPoolExecutor, as_completed

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(params=["fork", "spawn", "forkserver"])
def ctx(request):
    return procession.get_context(request.param)


@pytest.fixture
def executor(ctx):
    with ProcessPoolExecutor(2, ctx) as executor:
        yield executor


def test_calls(executor):
    assert executor.submit(tasks.square, 3).result(30) == 9
    assert executor.submit(int, "11", base=2).result(30) == 3
    futures = [executor.submit(tasks.square, x) for x in range(20)]
    assert sorted(future.result() for future in as_completed(futures, 30)) == [x * x for x in range(20)]
    assert isinstance(executor.submit(divmod, 1, 0).exception(30), ZeroDivisionError)
    assert isinstance(executor, concurrent.futures.Executor)
    assert isinstance(executor, concurrent.futures.ProcessPoolExecutor)


def test_map(executor):
    assert list(executor.map(pow, range(5), [2] * 9)) == [0, 1, 4, 9, 16]
    assert list(executor.map(tasks.square, range(50), chunksize=7)) == [x * x for x in range(50)]
    assert list(executor.map(tasks.square, iter(range(50)), buffersize=3)) == [x * x for x in range(50)]
    with pytest.raises(ValueError, match="chunksize"):
        executor.map(tasks.square, [1], chunksize=0)
    with pytest.raises(TimeoutError):
        list(executor.map(time.sleep, [0, 0, 1], timeout=0.2))
    results = executor.map(functools.partial(divmod, 6), [1, 0])
    assert next(results) == (6, 0)
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_one_death_breaks_one_future(executor):
    futures = [executor.submit(tasks.die_at, x, 7) for x in range(20)]
    errors = [future.exception(30) for future in futures]
    assert [(error is None) for error in errors] == [x != 7 for x in range(20)]
    assert isinstance(errors[7], BrokenProcessPool) and isinstance(errors[7], WorkerDiedError)
    assert errors[7].exitcode == -signal.SIGKILL
    assert executor.submit(tasks.square, 3).result(30) == 9


def test_workers_start_when_there_is_work_for_them(ctx):
    with ProcessPoolExecutor(3, ctx) as executor:
        assert len(executor._processes) == 0
        for _ in range(4):
            executor.submit(tasks.square, 2).result(30)
        assert len(executor._processes) == (3 if ctx.get_start_method() == "fork" else 1)
        assert list(executor.map(tasks.square, range(5))) == [0, 1, 4, 9, 16]
        assert len(executor._processes) == 3


def test_errors_look_as_concurrent_futures_makes_them(ctx):
    with ProcessPoolExecutor(1, ctx) as executor:
        with pytest.raises(ZeroDivisionError) as caught:
            list(executor.map(divmod, [1], [0]))
        for error in (executor.submit(divmod, 1, 0).exception(30), caught.value):
            assert type(error.__cause__) is concurrent.futures.process._RemoteTraceback
        assert "lock" in str(executor.submit(tasks.make_lock).exception(30))
        assert type(executor.submit(tasks.make_lock).exception(30)) is TypeError


def test_lives_of_so_many_tasks(ctx):
    with ProcessPoolExecutor(2, ctx, max_tasks_per_child=2) as executor:
        pids = list(executor.map(tasks.pid_of_worker, range(12)))
    assert max(map(pids.count, pids)) <= 2


def test_an_initializer_that_fails_breaks_the_executor(ctx):
    with ProcessPoolExecutor(1, ctx, tasks.fail_to_start) as executor:
        error = executor.submit(tasks.square, 1).exception(30)
        assert isinstance(error, BrokenProcessPool) and "the initializer's" in str(error)
        with pytest.raises(BrokenProcessPool):
            executor.submit(tasks.square, 1)


def test_shutdown_waits_for_what_was_submitted(ctx):
    executor = ProcessPoolExecutor(2, ctx)
    futures = [executor.submit(time.sleep, 0.01) for _ in range(10)]
    executor.shutdown()
    assert all(future.done() and future.exception() is None for future in futures)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(int)


def test_shutdown_cancels_what_has_not_begun(ctx, tmp_path):
    gate, began = str(tmp_path / "gate"), str(tmp_path / "began")
    executor = ProcessPoolExecutor(1, ctx)
    running = executor.submit(tasks.touch_and_wait, began, gate)
    assert executor.submit(tasks.square, 1).done() is False
    waiting = [executor.submit(tasks.square, x) for x in range(20)]
    while not os.path.exists(began):
        time.sleep(0.001)
    executor.shutdown(wait=False, cancel_futures=True)
    tasks.touch(gate)
    executor.shutdown()
    assert running.result(30) == gate
    assert all(future.cancelled() for future in waiting)


def test_a_future_that_waits_can_be_cancelled(executor, tmp_path):
    gate = str(tmp_path / "gate")
    blocked = [executor.submit(tasks.wait_for_file, gate) for _ in range(2)]
    waiting = [executor.submit(tasks.touch, str(tmp_path / f"touched{x}")) for x in range(20)]
    assert waiting[-1].cancel()
    tasks.touch(gate)
    concurrent.futures.wait([*blocked, *waiting], 30)
    assert not os.path.exists(tmp_path / "touched19") and os.path.exists(tmp_path / "touched18")


@pytest.mark.parametrize("end", ["terminate_workers", "kill_workers"])
def test_ending_the_workers(ctx, end, tmp_path):
    executor = ProcessPoolExecutor(1, ctx)
    futures = [executor.submit(tasks.wait_for_file, str(tmp_path / "never")) for _ in range(3)]
    getattr(executor, end)()
    for future in futures:
        assert isinstance(future.exception(30), BrokenProcessPool)
    with pytest.raises(RuntimeError):
        executor.submit(int)
    executor.shutdown()


def test_asyncio(executor):
    async def main():
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(executor, tasks.square, x) for x in range(5)))

    assert asyncio.run(main()) == [0, 1, 4, 9, 16]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [({"max_workers": 0}, ValueError), ({"initializer": 1}, TypeError), ({"max_tasks_per_child": 0}, ValueError),
     ({"max_tasks_per_child": "1"}, TypeError)],
)  # fmt: skip
def test_bad_arguments(arguments, error):
    with pytest.raises(error):
        ProcessPoolExecutor(**arguments)


def test_a_future_stays_in_its_process():
    with ProcessPoolExecutor(1, procession.get_context("fork")) as executor:
        with pytest.raises(TypeError, match="a future cannot be pickled"):
            pickle.dumps(executor.submit(tasks.square, 3))
