"""Pools whose workers, callers or callbacks fail: nobody hangs, and every task has its result or one error."""

import functools
import gc
import os
import pathlib
import pickle
import signal
import threading

import pytest
import tasks

import procession
from procession.errors import PoolTerminatedError, TaskCancelledError, TaskTimeoutError, WorkerDiedError

METHODS = ("fork", "spawn", "forkserver")
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # of forks beside the collector, from 3.12 on


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


@pytest.fixture
def pool(method):
    with procession.get_context(method).Pool(2) as pool:
        yield pool
    pool.join()


# ---- H1, H2: a worker dies ------------------------------------------------------------------


def test_exactly_the_task_in_progress_is_lost(pool, tmp_path):
    path = str(tmp_path / "ran")
    result = pool.starmap_async(tasks.noted_or_shot, [(path, x, 13) for x in range(40)], chunksize=10)
    with pytest.raises(WorkerDiedError) as caught:
        result.get(30)
    assert (caught.value.task, caught.value.exitcode) == (13, -signal.SIGKILL)
    assert "13" in caught.value.arguments and str(caught.value.pid) in str(caught.value)
    ran = sorted(map(int, pathlib.Path(path).read_text().split()))
    assert ran == list(range(40))  # each once, the lost one included, and never again
    assert pool.map(tasks.square, range(10)) == [x * x for x in range(10)]


@pytest.mark.parametrize(("how", "exitcode"), [("exit", 7), ("segv", -signal.SIGSEGV)])
def test_other_ways_to_die(pool, how, exitcode):
    with pytest.raises(WorkerDiedError) as caught:
        pool.apply_async(tasks.die, (how,)).get(30)
    assert caught.value.exitcode == exitcode
    assert caught.value.oom is False
    assert pool.apply(tasks.square, (3,)) == 9


@pytest.mark.filterwarnings("ignore::procession.errors.ForkWithThreadsWarning")
def test_a_child_that_a_task_forks_is_no_second_worker():
    with procession.Pool(1) as pool:
        ways = {"raises": 1, "exits": 5, "returns": 0}
        for way, status in ways.items():
            assert pool.apply_async(tasks.forks_and_comes_back_twice, (way,)).get(30) == status
        assert pool.map(tasks.forks_and_comes_back_twice, ways) == list(ways.values())
        assert pool.map(tasks.square, range(100)) == [x * x for x in range(100)]


def test_the_last_words_of_a_worker(pool):
    for how, lines in (("kill", 3), ("exit", 1000)):
        with pytest.raises(WorkerDiedError) as caught:
            pool.apply_async(tasks.complain_and_die, (lines, how)).get(30)
        words = caught.value.stderr.splitlines()
        assert words == [f"complaint {number}: ünïcode" for number in range(lines)][-20:]
        assert words[-1] in str(caught.value)
        assert pickle.loads(pickle.dumps(caught.value)).stderr == caught.value.stderr
    with pytest.raises(WorkerDiedError) as caught:
        pool.apply_async(tasks.die, ("kill",)).get(30)
    assert caught.value.stderr == "" and "wrote" not in str(caught.value)


def test_arguments_that_take_long_to_unpickle(pool, tmp_path):
    """A worker that has not begun its task may be about to: it is not taken away for ever and ever."""
    path = str(tmp_path / "unpickled")
    heavy = tasks.Heavy(path, 0.3)
    assert pool.apply_async(tasks.seconds_of, (heavy,)).get(30) == 0.3
    assert len(pathlib.Path(path).read_text().split()) < 8


def test_every_task_dies(pool):
    results = [pool.apply_async(tasks.die, ("kill",)) for _ in range(6)]
    for result in results:
        with pytest.raises(WorkerDiedError):
            result.get(30)
    assert pool.apply(tasks.square, (3,)) == 9


def test_imap_goes_on_after_a_death(pool):
    results = pool.imap(functools.partial(tasks.die_at, victim=2), iter(range(5)))
    got = []
    for _ in range(5):
        try:
            got.append(results.next(30))
        except WorkerDiedError as error:
            got.append(error.task)
    assert got == [0, 1, 2, 3, 4]
    with pytest.raises(StopIteration):
        results.next(30)


def test_workers_shot_while_idle_are_replaced(pool, eventually):
    pool.map(tasks.square, range(4))
    before = [process.pid for process in pool._pool]
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(pool._pool) == 2 and not {process.pid for process in pool._pool} & set(before))
    assert pool.apply(tasks.square, (3,)) == 9


def test_death_asked_to_be_retried_or_skipped(pool, tmp_path):
    once = functools.partial(tasks.die_once, str(tmp_path / "a"))
    assert pool.map(once, range(4), on_worker_death="retry") == [0, 1, 2, 3]
    once = functools.partial(tasks.die_once, str(tmp_path / "b"))
    assert pool.map(once, range(4), retries=1) == [0, 1, 2, 3]
    shot = functools.partial(tasks.die_at, victim=2)
    assert pool.map(shot, range(4), on_worker_death="skip") == [0, 1, None, 3]
    with pytest.raises(WorkerDiedError):
        pool.options(on_worker_death="retry").map(shot, range(4))


def test_the_error_survives_pickling():
    error = WorkerDiedError(3, "f(3)", 4711, -9, oom=True, peak_memory=2**30, stderr="out of luck")
    again = pickle.loads(pickle.dumps(error))
    assert vars(again) == vars(error) and str(again) == str(error)
    assert "SIGKILL" in str(error) and "1024 MiB" in str(error) and "out of luck" in str(error)


def test_a_task_whose_arguments_kill_whoever_opens_them(pool):
    good = [pool.apply_async(tasks.square, (x,)) for x in range(20)]
    bad = pool.apply_async(tasks.length, (tasks.Deadly(),))
    good += [pool.apply_async(tasks.square, (x,)) for x in range(20)]
    with pytest.raises(WorkerDiedError) as caught:
        bad.get(30)
    assert caught.value.exitcode == 9
    assert [result.get(30) for result in good] == [x * x for x in range(20)] * 2
    assert (
        pool.starmap_async(tasks.first, [(1, tasks.Deadly())] * 3, on_worker_death="skip").get(30)
        == [None] * 3
    )


# ---- H3, H4, H5: errors -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SystemExit", "KeyboardInterrupt", "OwnError"])
def test_base_exceptions_are_raised_at_get(pool, name):
    with pytest.raises(BaseException) as caught:
        pool.apply_async(tasks.raise_base, (name,)).get(30)
    assert type(caught.value).__name__ == name
    assert pool.map(tasks.square, range(4)) == [0, 1, 4, 9]


@pytest.mark.parametrize(("kind", "name"), [("loads", "Unpicklable"), ("dumps", "Stubborn")])
def test_exceptions_that_do_not_survive_pickling(pool, kind, name):
    with pytest.raises(procession.pool.MaybeEncodingError) as caught:
        pool.apply_async(tasks.raise_unpicklable, (kind,)).get(30)
    assert name in str(caught.value)
    assert "raise_unpicklable" in str(caught.value.__cause__)


def test_notes_and_tracebacks_travel(pool):
    with pytest.raises(ValueError, match="with a note") as caught:
        pool.apply(tasks.raise_noted)
    assert caught.value.__notes__ == ["the note"]
    assert "raise_noted" in str(caught.value.__cause__)


def test_an_error_that_nobody_fetches_is_told(pool, caplog):
    result = pool.apply_async(tasks.raise_noted)
    result.wait(30)
    assert result.ready()
    del result
    gc.collect()
    (record,) = caplog.records
    assert "nobody asked for its result" in record.message and record.name == "procession"
    assert "with a note" in str(record.exc_info[1])


def test_an_error_in_a_callback_is_told(pool, caplog):
    assert pool.apply_async(tasks.square, (3,), callback=lambda value: 1 // 0).get(30) == 9
    assert pool.apply(tasks.square, (4,)) == 16
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]
    caplog.clear()


# ---- H6: children of workers --------------------------------------------------------------------


def test_a_worker_may_have_children(pool, method):
    assert pool.apply(tasks.children_of_a_task, (method,)) == ([0, 1, 4, 9], 0, True)


# ---- H17: inputs and results within bounds --------------------------------------------------------


def test_buffersize_bounds_what_is_drawn(pool):
    drawn = []

    def numbers():
        for x in range(10**9):
            drawn.append(x)
            yield x

    results = pool.imap(tasks.square, numbers(), buffersize=10)
    for x in range(50):
        assert results.next(30) == x * x
        assert len(drawn) <= x + 11
    del results
    pool.close()
    pool.join()
    assert len(drawn) <= 61


def test_an_iterator_that_nobody_reads_keeps_nobody(pool):
    results = pool.imap_unordered(tasks.square, range(1000))
    first = next(results)
    pool.close()
    pool.join()
    assert sorted([first, *results]) == [x * x for x in range(1000)]


# ---- the pool's own life ------------------------------------------------------------------------


def test_an_initializer_that_fails_is_the_result_of_every_task(method):
    with procession.get_context(method).Pool(2, tasks.fail_to_start) as pool:
        for _ in range(2):
            with pytest.raises(ValueError, match="the initializer's") as caught:
                pool.apply_async(tasks.square, (2,)).get(30)
            assert "initializer" in caught.value.__notes__[0]
    pool.join()


def test_an_initializer_that_kills_its_worker(method):
    with procession.get_context(method).Pool(1, tasks.die_at_start) as pool:
        with pytest.raises(WorkerDiedError):
            pool.apply_async(tasks.square, (2,)).get(30)
    pool.join()


def test_tasks_after_the_end_are_refused(method):
    pool = procession.get_context(method).Pool(1)
    pool.close()
    for call in (
        pool.apply,
        pool.apply_async,
        functools.partial(pool.map, iterable=[1]),
        functools.partial(pool.imap, iterable=[1]),
    ):
        with pytest.raises(ValueError, match="Pool not running"):
            call(tasks.square)
    pool.join()


def test_terminate_gives_every_waiter_an_error(pool, tmp_path):
    results = [pool.apply_async(tasks.wait_for_file, (str(tmp_path / "never"),)) for _ in range(5)]
    stream = pool.imap(tasks.wait_for_file, [str(tmp_path / "never")])
    pool.terminate()
    for result in results:
        with pytest.raises(PoolTerminatedError):
            result.get(30)
    with pytest.raises(PoolTerminatedError):
        stream.next(30)


def test_a_task_that_waits_for_one_behind_it(pool, tmp_path):
    """Whatever was given to the first worker beforehand is done by the other one."""
    pool.map(tasks.square, range(20000))  # tiny tasks: the pool gives many at a time from now on
    gate = str(tmp_path / "gate")
    first = pool.apply_async(tasks.wait_for_file, (gate,))
    last = [pool.apply_async(tasks.square, (x,)) for x in range(50)] + [
        pool.apply_async(tasks.touch, (gate,))
    ]
    assert first.get(30) == gate
    assert [result.get(30) for result in last[:-1]] == [x * x for x in range(50)]


# ---- time limits, retries, cancelling -----------------------------------------------------------


def test_timeout_interrupts_the_task_and_only_it(pool, tmp_path):
    path = str(tmp_path / "notes")
    late = pool.apply_async(tasks.sleep_and_note, (path,), timeout=0.2)
    assert pool.map(tasks.square, range(10)) == [x * x for x in range(10)]
    with pytest.raises(TaskTimeoutError) as caught:
        late.get(30)
    assert pathlib.Path(path).read_text() == "cleaned up\n"
    assert "time.sleep(60)" in str(caught.value.__cause__)
    assert isinstance(caught.value, TimeoutError)
    assert str(caught.value).startswith("task 0, sleep_and_note(")


def test_timeout_kills_who_does_not_heed_it(pool):
    with pytest.raises(TaskTimeoutError):
        pool.apply_async(tasks.ignore_interrupts, timeout=0.1).get(30)
    assert pool.apply(tasks.square, (2,)) == 4


def test_retries(pool, tmp_path):
    fails = functools.partial(tasks.fail_once, str(tmp_path / "a"))
    with pytest.raises(ValueError, match="the first time"):
        pool.apply(fails, (1,))
    fails = functools.partial(tasks.fail_once, str(tmp_path / "b"))
    assert pool.apply(fails, (1,), retries=1) == 1


def test_cancel_ends_a_running_task_and_takes_out_a_waiting_one(pool, tmp_path, eventually):
    gate, path = str(tmp_path / "gate"), str(tmp_path / "notes")
    running = pool.apply_async(tasks.sleep_and_note, (path,))
    blocked = pool.apply_async(tasks.wait_for_file, (gate,))
    waiting = pool.apply_async(tasks.touch, (str(tmp_path / "touched"),))
    assert waiting.cancel()
    with pytest.raises(TaskCancelledError):
        waiting.get(30)
    eventually(
        lambda: sum(hand.running() is not None for hand in list(pool._engine.floor.hands.values())) == 2
    )
    assert running.cancel()
    with pytest.raises(TaskCancelledError):
        running.get(30)
    assert pathlib.Path(path).read_text() == "cleaned up\n"
    tasks.touch(gate)
    assert blocked.get(30) == gate and not blocked.cancel()
    assert not os.path.exists(tmp_path / "touched")


def test_a_memory_limit_replaces_and_kills(method):
    limit = 200 << 20
    with procession.get_context(method).Pool(1, memory_limit=limit) as pool:
        first = pool.apply(tasks.pid_of_worker)
        with pytest.raises(WorkerDiedError) as caught:
            pool.apply(tasks.hold_memory, (2 * limit,))
        assert caught.value.pid == first and "bytes of memory" in caught.value.__notes__[0]
        second = pool.apply(tasks.keep_memory, (limit * 11 // 10,))
        while pool.apply(tasks.pid_of_worker) == second:
            pass
    pool.join()


def test_progress(pool):
    told = []
    pool.map(tasks.square, range(1000), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (1000, 1000) and told == sorted(told)


@pytest.mark.parametrize(
    "extras",
    [{"timeout": 0}, {"retries": -1}, {"buffersize": 0}, {"on_worker_death": "pray"}, {"nonsense": 1}],
)
def test_bad_extras_are_refused_at_once(pool, extras):
    with pytest.raises((TypeError, ValueError)):
        pool.apply_async(tasks.square, (1,), **extras)


# ---- what travels -------------------------------------------------------------------------------


def test_functions_and_arguments_that_pickle_refuses(pool):
    offset = 3
    assert pool.map(lambda x: x + offset, range(4)) == [3, 4, 5, 6]
    assert pool.apply(tasks.call, (lambda: offset,)) == 3


def test_what_cannot_travel_is_that_task_s_error(pool):
    good = pool.apply_async(tasks.square, (2,))
    bad = pool.apply_async(tasks.length, (threading.Lock(),))
    assert good.get(30) == 4
    with pytest.raises(TypeError) as caught:
        bad.get(30)
    assert caught.value.__notes__[0].startswith("args[0] cannot be sent to a worker, being a _thread.lock")
    with pytest.raises(TypeError) as caught:
        pool.map(tasks.length, ["a", ("b", threading.Lock()), "b"])
    place, task = caught.value.__notes__
    assert place.startswith("item[1] cannot be sent to a worker") and task.startswith("it is task 1, length(")
    assert pool.map(tasks.length, ["a", "bb"]) == [1, 2]


def test_errors_of_unpickling_name_their_task(pool):
    with pytest.raises(ValueError, match="no number") as caught:
        pool.map(tasks.unreadable, [5])
    assert caught.value.__notes__ == ["its result could not be unpickled: task 0, unreadable(5)"]
    with pytest.raises(ValueError, match="no number") as caught:
        pool.map(tasks.length, ["a", tasks.Unreadable()])
    (note,) = caught.value.__notes__
    assert note.startswith("its worker could not unpickle it: task 1, length(<tasks.Unreadable")
    with pytest.raises(
        procession.pool.MaybeEncodingError, match="maximum recursion depth exceeded while pickling"
    ):
        pool.apply_async(tasks.deep, (1,)).get(30)


@pytest.mark.parametrize("size", [1000, 40_000, 300_000, 5_000_000])
def test_large_arguments_and_results(pool, size):
    assert pool.map(tasks.length, [bytearray(size)] * 3) == [size] * 3
    assert [len(data) for data in pool.map(tasks.large, [size] * 3)] == [size] * 3


def test_large_errors(pool):
    with pytest.raises(ValueError, match="x" * 1000) as caught:
        pool.apply(tasks.raise_large, (300_000,))
    assert len(caught.value.args[0]) == 300_000


def test_streams_of_chunks(pool):
    assert sorted(pool.imap_unordered(tasks.square, iter(range(100)), chunksize=7)) == [
        x * x for x in range(100)
    ]
    assert list(pool.imap(tasks.square, iter(range(100)), chunksize=7)) == [x * x for x in range(100)]
