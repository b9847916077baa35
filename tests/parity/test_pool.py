"""Pools: one body, the standard library's and ours."""

import functools
import importlib
import operator
import sys
import threading
import time

import pytest
import tasks


@pytest.fixture(params=["fork", "spawn"])
def pool(mp, request):
    with mp.get_context(request.param).Pool(2) as pool:
        yield pool
    pool.join()


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_every_way_to_call(pool, mp):
    squares = [x * x for x in range(20)]
    assert pool.apply(tasks.square, (3,)) == 9
    assert pool.apply(int, ("11",), {"base": 2}) == 3
    assert pool.apply_async(tasks.square, (3,)).get(30) == 9
    assert pool.map(tasks.square, range(20)) == squares
    assert pool.map(tasks.square, range(20), 3) == squares
    assert pool.map(tasks.square, iter(range(20)), chunksize=7) == squares
    assert pool.map_async(tasks.square, range(20)).get(30) == squares
    assert pool.starmap(operator.add, [(1, 2), (3, 4)]) == [3, 7]
    assert pool.starmap_async(operator.add, zip(range(3), range(3), strict=True)).get(30) == [0, 2, 4]
    assert list(pool.imap(tasks.square, range(20))) == squares
    assert list(pool.imap(tasks.square, iter(range(20)), 3)) == squares
    assert sorted(pool.imap_unordered(tasks.square, iter(range(20)))) == squares
    assert sorted(pool.imap_unordered(tasks.square, range(20), 6)) == squares
    assert pool.map(tasks.square, []) == [] and list(pool.imap(tasks.square, [])) == []


def test_callbacks_run_in_this_process_and_another_thread(pool):
    told = []
    done = threading.Event()

    def note(value):
        told.append((value, threading.current_thread() is threading.main_thread()))
        if len(told) == 3:
            done.set()

    pool.apply_async(tasks.square, (3,), callback=note).get(30)
    pool.map_async(tasks.square, range(3), callback=note).get(30)
    failing = pool.apply_async(divmod, (1, 0), callback=note, error_callback=lambda error: note(type(error)))
    with pytest.raises(ZeroDivisionError):
        failing.get(30)
    assert done.wait(30)
    assert told == [(9, False), ([0, 1, 4], False), (ZeroDivisionError, False)]


def test_results(pool, mp, tmp_path):
    gate = str(tmp_path / "gate")
    result = pool.apply_async(tasks.wait_for_file, (gate,))
    assert result.ready() is False
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    assert result.wait(0.01) is None
    with pytest.raises(mp.TimeoutError):
        result.get(0.01)
    with pytest.raises(mp.TimeoutError):
        pool.imap(tasks.wait_for_file, [gate]).next(0.01)
    tasks.touch(gate)
    assert result.get(30) == gate and result.ready() and result.successful()
    failed = pool.apply_async(divmod, (1, 0))
    failed.wait(30)
    assert failed.successful() is False
    with pytest.raises(ZeroDivisionError):
        failed.get()


def test_errors_come_with_their_remote_traceback(pool):
    with pytest.raises(ZeroDivisionError) as caught:
        pool.map(functools.partial(divmod, 1), [1, 0, 2])
    assert type(caught.value.__cause__).__name__ == "RemoteTraceback"
    with pytest.raises(ValueError, match="with a note") as caught:
        pool.apply(tasks.raise_noted)
    assert "tasks.py" in str(caught.value.__cause__) and "raise error" in str(caught.value.__cause__)


def test_a_map_waits_for_all_before_it_raises(pool, tmp_path):
    path = str(tmp_path / "ran")
    with pytest.raises(ZeroDivisionError):
        pool.starmap(tasks.note_and_divide, [(path, x) for x in range(6)], 1)
    assert len(open_lines(path)) == 6


def open_lines(path):
    with open(path) as file:
        return file.readlines()


def test_imap_goes_on_after_an_error(pool):
    results = pool.imap(functools.partial(divmod, 6), [1, 0, 2])
    assert next(results) == (6, 0)
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert next(results) == (3, 0)
    with pytest.raises(StopIteration):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def failing_items(n):
    yield from range(n)
    raise KeyError("the iterable's")


def test_iterables_that_fail(pool):
    with pytest.raises(KeyError):
        pool.map(tasks.square, failing_items(3))
    results = pool.imap(tasks.square, failing_items(2))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(KeyError):
        next(results)
    with pytest.raises(KeyError):
        list(pool.imap_unordered(tasks.square, failing_items(0)))
    assert pool.map(tasks.square, range(3)) == [0, 1, 4]


def test_what_cannot_be_pickled(pool, mp):
    with pytest.raises(mp.pool.MaybeEncodingError) as caught:
        pool.apply(tasks.make_lock)
    assert "lock" in caught.value.value and "pickle" in caught.value.exc
    with pytest.raises(TypeError):
        pool.apply(len, (threading.Lock(),))
    assert pool.apply(tasks.square, (3,)) == 9


@pytest.mark.parametrize(
    ("arguments", "error"),
    [({"processes": 0}, ValueError), ({"processes": -1}, ValueError), ({"maxtasksperchild": 0}, ValueError),
     ({"maxtasksperchild": 1.5}, ValueError), ({"initializer": 3}, TypeError)],
)  # fmt: skip
def test_bad_arguments(ctx, arguments, error):
    with pytest.raises(error):
        ctx.Pool(**{"processes": 1, **arguments})


def test_bad_chunks_and_states(mp):
    pool = mp.get_context("fork").Pool(1)
    for call in (pool.imap, pool.imap_unordered):
        with pytest.raises(ValueError, match="1\\+"):
            call(tasks.square, [1], 0)
    with pytest.raises(ValueError, match="Pool is still running"):
        pool.join()
    with pytest.raises(NotImplementedError):
        tasks.pickled(pool)
    pool.close()
    pool.close()
    with pytest.raises(ValueError, match="Pool not running"):
        pool.apply(tasks.square, (1,))
    with pytest.raises(ValueError, match="Pool not running"):
        pool.__enter__()
    pool.join()
    pool.terminate()


def test_close_lets_everything_finish(mp):
    pool = mp.get_context("fork").Pool(2)
    results = [pool.apply_async(time.sleep, (0.01,)) for _ in range(20)]
    stream = pool.imap(tasks.square, iter(range(100)))
    pool.close()
    pool.join()
    assert all(result.ready() and result.successful() for result in results)
    assert list(stream) == [x * x for x in range(100)]


def test_initializers_and_short_lives(mp):
    with mp.get_context("fork").Pool(2, tasks.remember, ("this",), maxtasksperchild=2) as pool:
        got = pool.map(tasks.remembered, range(12), 1)
        assert {value for value, _ in got} == {"this"}
        pids = [pid for _, pid in got]
        assert max(map(pids.count, pids)) <= 2
    pool.join()


def test_no_task_sees_what_another_did_to_its_arguments(mp):
    """What is sent together is one chunk; who sends more at once keeps chunks apart."""
    mine = []
    with mp.get_context("fork").Pool(1) as pool:
        calls = [pool.apply_async(tasks.lengthen, (mine,)) for _ in range(200)]
        assert {call.get(30) for call in calls} == {1}
        calls = [pool.apply_async(tasks.lengthen, kwds={"found": mine}) for _ in range(200)]
        assert {call.get(30) for call in calls} == {1}
        assert set(pool.map(tasks.lengthen, [mine] * 200, chunksize=1)) == {1}
        assert set(pool.starmap(tasks.lengthen_also, [(mine, x) for x in range(200)], chunksize=1)) == {1}
        assert set(pool.imap(tasks.lengthen, [mine] * 200)) == {1}
        assert set(pool.imap_unordered(tasks.lengthen, [mine] * 200)) == {1}
        assert max(pool.map(tasks.lengthen, [mine] * 200, chunksize=3)) == 3
        # A bound method is an argument, too.
        calls = [pool.apply_async(mine.__iadd__, ([0],)) for _ in range(200)]
        assert {len(call.get(30)) for call in calls} == {1}
    pool.join()
    assert not mine


class Collector:
    def __init__(self):
        self.seen = []

    def take(self, x):
        self.seen.append(x)
        return len(self.seen)


def test_a_function_that_has_state_has_it_for_one_chunk(mp):
    collector = Collector()
    with mp.get_context("fork").Pool(1) as pool:
        for _ in range(2):
            assert pool.map(collector.take, range(20), chunksize=1) == [1] * 20
            assert list(pool.imap(collector.take, range(20))) == [1] * 20
            assert pool.map(functools.partial(tasks.lengthen_also, []), range(20), chunksize=1) == [1] * 20
    pool.join()


def test_many_threads_wait_for_one_result(mp):
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with mp.get_context("fork").Pool(1) as pool:
            for _ in range(50):
                result, got = pool.apply_async(tasks.square, (3,)), []
                waiters = [threading.Thread(target=lambda: got.append(result.get(30))) for _ in range(4)]
                for waiter in waiters:
                    waiter.start()
                for waiter in waiters:
                    waiter.join()
                assert got == [9] * 4
        pool.join()
    finally:
        sys.setswitchinterval(interval)


def test_a_pool_whose_process_is_a_method(mp):
    class Named(importlib.import_module(f"{mp.__name__}.pool").Pool):
        def Process(self, *args, **kwds):
            process = super().Process(*args, **kwds)
            process.name += f"-of-{self.owner}"
            return process

        owner = "tests"

    with Named(2, context=mp.get_context("fork")) as pool:
        assert [worker.name.rpartition("-of-")[2] for worker in pool._pool] == ["tests"] * 2
        assert pool.apply(abs, (-3,)) == 3
    pool.join()


def test_a_method_that_programs_add_to_pools(mp):
    """As `istarmap` does, which is copied from program to program."""
    module = importlib.import_module(f"{mp.__name__}.pool")

    def istarmap(pool, func, iterable, chunksize=1):
        pool._check_running()
        batches = module.Pool._get_tasks(func, iterable, chunksize)
        result = module.IMapIterator(pool)
        tasks = pool._guarded_task_generation(result._job, module.starmapstar, batches)
        pool._taskqueue.put((tasks, result._set_length))
        return (item for chunk in result for item in chunk)

    def failing():
        yield 1, 2
        raise LookupError("no more")

    with mp.get_context("fork").Pool(2) as pool:
        assert list(istarmap(pool, operator.add, [(x, x) for x in range(50)], 7)) == [
            2 * x for x in range(50)
        ]
        assert list(istarmap(pool, operator.add, [])) == []
        sums = istarmap(pool, operator.add, failing())
        assert next(sums) == 3
        with pytest.raises(LookupError, match="no more"):
            next(sums)
        pool.close()
        pool.join()
