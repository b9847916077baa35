"""The standard library's own pools and executors, on our processes and queues."""

import concurrent.futures
import multiprocessing.pool
import os
import queue
import signal
import threading

import pytest

import procession

METHODS = ["fork", "spawn", "forkserver"]

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded", "ignore:.*threads")


@pytest.fixture(params=METHODS)
def ctx(request):
    return procession.get_context(request.param)


def square(number):
    return number * number


def die(_):
    os.kill(os.getpid(), signal.SIGKILL)


def fail(number):
    raise ValueError(number)


def is_ours(obj):
    return type(obj).__module__.startswith("procession")


def test_an_executor(ctx):
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=ctx) as executor:
        assert list(executor.map(square, range(50), chunksize=3)) == [n * n for n in range(50)]
        assert is_ours(executor._result_queue)
        assert len(executor.submit(bytes, 3_000_000).result()) == 3_000_000
        with pytest.raises(ValueError, match="7"):
            executor.submit(fail, 7).result()
        with pytest.raises((TypeError, AttributeError)):
            executor.submit(square, threading.Lock()).result()
        assert executor.submit(square, 3).result() == 9


def test_an_executor_whose_worker_is_killed(ctx):
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=ctx) as executor:
        assert executor.submit(square, 2).result() == 4
        with pytest.raises(concurrent.futures.process.BrokenProcessPool):
            executor.submit(die, 0).result(20)


def test_a_pool(ctx):
    with multiprocessing.pool.Pool(2, context=ctx) as pool:
        assert is_ours(pool._inqueue)
        assert is_ours(pool._outqueue)
        assert pool.map(square, range(100)) == [n * n for n in range(100)]
        assert sorted(pool.imap_unordered(square, range(20))) == [n * n for n in range(20)]
        assert len(pool.apply(bytes, (3_000_000,))) == 3_000_000
        with pytest.raises(ValueError, match="7"):
            pool.apply(fail, (7,))
        pool.close()
        pool.join()


def test_a_pool_that_is_terminated(ctx):
    pool = multiprocessing.pool.Pool(2, context=ctx)
    pending = pool.map_async(square, range(10_000), chunksize=1)
    pool.terminate()
    pool.join()
    assert not pending.ready() or pending.get() == [n * n for n in range(10_000)]


def test_threads_and_processes_together(ctx):
    """One queue between threads of this process and workers of a pool."""
    results = ctx.Queue()
    with multiprocessing.pool.Pool(2, initializer=remember, initargs=(results,), context=ctx) as pool:
        pool.map(put_square, range(20))
        pool.close()
        pool.join()
    got = [results.get() for _ in range(20)]
    assert sorted(got) == [n * n for n in range(20)]
    with pytest.raises(queue.Empty):
        results.get_nowait()


def remember(results):
    global kept
    kept = results


def put_square(number):
    kept.put(number * number)
