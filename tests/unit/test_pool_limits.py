"""What workers may not exceed, and what is said of those who died: time, memory, patience with the stopped."""

import contextlib
import io
import os
import pathlib
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
import tasks

import procession
from procession._work import oom
from procession.errors import TaskTimeoutError, WorkerDiedError

fork = procession.get_context("fork")
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # of forks beside the collector, from 3.12 on


@contextlib.contextmanager
def stopped(pid, eventually):
    os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


# ---- who is stopped between two tasks -------------------------------------------------------


def test_tasks_of_a_stopped_worker_are_done_by_others(eventually):
    with fork.Pool(2) as pool:
        pool.map(tasks.square, range(10))
        with stopped(pool._pool[0].pid, eventually):
            assert pool.map(tasks.square, range(40), 1) == [x * x for x in range(40)]
            assert [pool.apply(tasks.square, (x,)) for x in range(4)] == [0, 1, 4, 9]
    pool.join()


def test_a_time_limit_holds_when_the_only_worker_is_stopped(eventually):
    with fork.Pool(1) as pool:
        first = pool.apply(tasks.pid_of_worker)
        with stopped(first, eventually):
            assert pool.map(tasks.square, range(9), timeout=0.3) == [x * x for x in range(9)]
        assert pool.apply(tasks.pid_of_worker) != first
    pool.join()


# ---- what is large -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "item"), [(len, bytes(1 << 20)), (bytes, 1 << 20)], ids=["arguments", "results"]
)
def test_a_worker_has_a_few_large_tasks_before_it(task, item, eventually):
    with fork.Pool(1) as pool:
        wanted = pool.map(task, [item] * 20, 1)  # it knows by now how quick they are, and how large
        (hand,) = pool._engine.floor.hands.values()
        with stopped(hand.process.pid, eventually):
            result = pool.map_async(task, [item] * 20, 1)
            eventually(lambda: hand.ledger.count)
            assert hand.ledger.count <= 4
        assert result.get() == wanted
    pool.join()


# ---- whose time it is -------------------------------------------------------------------------


def test_each_task_of_a_message_has_its_own_time():
    naps = [0] * 500 + [0.2] * 5 + [30] + [0] * 5
    with fork.Pool(1) as pool:
        pool.map(time.sleep, [0] * 100, 1)
        naps_taken = pool.imap(time.sleep, naps, timeout=0.75)
        assert [next(naps_taken) for _ in range(505)] == [None] * 505
        with pytest.raises(TaskTimeoutError, match="longer than 0.75 s"):
            next(naps_taken)
        assert list(naps_taken) == [None] * 5
    pool.join()


def test_a_task_that_came_with_others_without_a_limit_has_its_whole_time():
    gate = threading.Event()
    with fork.Pool(1) as pool:
        pool.map(tasks.square, range(100), 1)
        pool.apply_async(tasks.square, (1,), callback=lambda _: gate.wait())
        unlimited = [pool.apply_async(tasks.square, (x,)) for x in range(9)]
        limited = pool.apply_async(time.sleep, (0.1,), timeout=60)
        gate.set()  # the collector finds them all
        assert [one.get() for one in unlimited] == [x * x for x in range(9)]
        assert limited.get() is None
    pool.join()


# ---- where a task was that did not heed its interrupt -----------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("task", [tasks.ignore_interrupts, tasks.swallow_interrupts, tasks.never_leave_c])
def test_a_killed_task_s_error_says_where_it_was(method, task):
    with procession.get_context(method).Pool(1) as pool:
        with pytest.raises(TaskTimeoutError) as caught:
            pool.apply(task, timeout=0.1)
        assert f"in {task.__name__}" in str(caught.value.__cause__)
        assert pool.apply(tasks.square, (3,)) == 9
    pool.join()


# ---- memory -----------------------------------------------------------------------------------


def test_a_memory_limit_of_one_call():
    # A forked worker begins with what this process has.
    limit = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + (200 << 20)
    with fork.Pool(1) as pool:
        first = pool.apply(tasks.pid_of_worker)
        with pytest.raises(WorkerDiedError) as caught:
            pool.apply(tasks.hold_memory, (2 * limit,), memory_limit=limit)
        error = caught.value
        assert error.pid == first and f"of {limit:,} allowed" in error.__notes__[0]
        assert error.peak_memory > limit and error.oom is False
        second = pool.apply(tasks.keep_memory, (limit * 11 // 10,))
        assert pool.apply(tasks.pid_of_worker) == second  # this call had no limit
        assert pool.options(memory_limit=None).apply(tasks.pid_of_worker) == second
        while pool.apply(tasks.pid_of_worker, memory_limit=limit) == second:
            pass
        with pytest.raises(ValueError, match="memory_limit"):
            pool.options(memory_limit=0)
    pool.join()


def memory_group():
    """A folder in which groups with a memory limit may be made; None where they may not."""
    file = oom._group_file()
    if file is None or os.getuid() != 0:
        return None
    folder = pathlib.Path(file).parent
    has_limit = (folder / "memory.limit_in_bytes").exists() or "memory" in (
        folder / "cgroup.subtree_control"
    ).read_text().split()
    return folder if has_limit and os.access(folder, os.W_OK) else None


PROGRAM = """
    import pathlib, sys
    folder, support = sys.argv[1:]
    pathlib.Path(folder, "cgroup.procs").write_text("0")
    sys.path.insert(0, support)
    import procession, tasks

    with procession.get_context("fork").Pool(2) as pool:
        assert pool.apply(tasks.square, (3,)) == 9
        for task, args in ((tasks.die, ("kill",)), (tasks.hold_memory, (1 << 30,)), (tasks.die, ("exit",))):
            try:
                pool.apply(task, args)
            except procession.WorkerDiedError as error:
                print(error.oom)
"""


@pytest.mark.root
@pytest.mark.skipif(memory_group() is None, reason="needs a control group whose memory can be limited")
def test_the_kernel_s_choice_is_told(tmp_path, eventually):
    folder = memory_group() / f"procession-test-{os.getpid()}"
    folder.mkdir()
    try:
        for name in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max", "memory.swap.max"):
            if (folder / name).exists():
                (folder / name).write_text("0" if name == "memory.swap.max" else str(256 << 20))
        program = tmp_path / "program.py"
        program.write_text(textwrap.dedent(PROGRAM))
        support = str(pathlib.Path(tasks.__file__).parent)
        ran = subprocess.run(
            [sys.executable, program, folder, support], capture_output=True, text=True, timeout=50
        )
        assert ran.stdout.split() == ["False", "True", "False"], ran
    finally:

        def is_gone():
            with contextlib.suppress(OSError):
                folder.rmdir()
            return not folder.exists()

        eventually(is_gone)


@pytest.mark.parametrize(
    ("before", "after", "shot", "said"),
    [((5, 5), (5, 5), 1, False), ((5, 5), (6, 6), 1, True), ((5, 5), (6, 6), 2, None), ((5, 5), (6, 5), 1, None),
     ((None, None), (None, None), 1, None), ((5, None), (5, None), 1, False), ((5, 5), (6, 6), 0, False)],
)  # fmt: skip
def test_what_the_kernel_s_counters_say(monkeypatch, tmp_path, before, after, shot, said):
    machine, group = tmp_path / "machine", tmp_path / "group"

    def count(counts):
        for path, number in zip((machine, group), counts, strict=True):
            path.write_text("under_oom 0\n" if number is None else f"under_oom 0\noom_kill {number}\n")

    monkeypatch.setattr(oom, "_VMSTAT", str(machine))
    monkeypatch.setattr(oom, "_group_file", lambda: str(group))
    count(before)
    counters = oom.Counters()
    count(after)
    assert counters.judge(shot) is said
    assert counters.judge(1) is (None if before[0] is None else False)  # it is said of one death only


# ---- what the pool itself says and leaves -------------------------------------------------------


def test_a_worker_that_dies_before_it_is_ready_is_said_to():
    with fork.Pool(1, tasks.die_at_start) as pool:
        with pytest.raises(WorkerDiedError, match="before it was ready for a task") as caught:
            pool.apply(tasks.square, (2,))
        assert caught.value.task is None and caught.value.exitcode == 3
    pool.join()


def test_the_usual_number_of_workers_is_what_the_process_may_use(monkeypatch):
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(processors)})
    try:
        with fork.Pool() as pool:
            assert pool._processes == 1 == len(pool._pool)
        pool.join()
        assert procession.ProcessPoolExecutor()._max_workers == 1
    finally:
        os.sched_setaffinity(0, processors)


def test_a_bar_leaves_no_thread(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with fork.Pool(1) as pool:
        before = set(threading.enumerate())
        assert pool.map(tasks.square, range(100), progress=True) == [x * x for x in range(100)]
        assert set(threading.enumerate()) == before
    pool.join()
    assert "100/100" in sys.stderr.getvalue()


def test_a_worker_that_has_done_nothing_is_not_replaced_for_its_memory():
    with procession.pool.Pool(1, memory_limit=1 << 20) as pool:  # less than an interpreter has
        (before,) = [process.pid for process in pool._pool]
        time.sleep(0.5)  # looked after meanwhile, or not: nothing is to happen
        assert [process.pid for process in pool._pool] == [before]
    pool.join()


# ---- a caller alone with its pool ---------------------------------------------------------------


def test_a_caller_that_waits_and_others_beside_it(tmp_path, eventually):
    """What one caller waits for at the desk keeps nobody else, whatever it is and whoever comes meanwhile."""
    gate = str(tmp_path / "gate")

    def call_alone():
        assert [pool.apply(tasks.square, (x,)) for x in range(50)] == [x * x for x in range(50)]
        for _ in range(3):
            with pytest.raises(WorkerDiedError):
                pool.apply(tasks.die, ("kill",))
            with pytest.raises(TypeError):
                pool.apply(tasks.length, (threading.Lock(),))
            assert len(pool.apply(tasks.large, (300_000,))) == 300_000
        got.append("all")

    with fork.Pool(2) as pool:
        got = []
        caller = threading.Thread(target=call_alone)
        caller.start()
        caller.join()
        assert got.pop() == "all"
        waiter = threading.Thread(target=lambda: got.append(pool.apply(tasks.wait_for_file, (gate,))))
        waiter.start()
        eventually(lambda: len(pool._cache) == 1)
        others = [pool.apply_async(tasks.square, (x,)) for x in range(100)]
        assert [other.get(30) for other in others] == [x * x for x in range(100)]
        assert pool.apply(tasks.square, (7,)) == 49 and not got
        tasks.touch(gate)
        waiter.join()
        assert got == [gate]
        callers = [
            threading.Thread(target=lambda: got.extend(pool.apply(tasks.square, (x,)) for x in range(100)))
            for _ in range(4)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert sorted(got[1:]) == sorted([x * x for x in range(100)] * 4)
        waiter = threading.Thread(
            target=lambda: got.append(end_of(pool.apply, tasks.wait_for_file, (gate + "2",)))
        )
        waiter.start()
        eventually(lambda: len(pool._cache) == 1)
        pool.terminate()
        waiter.join()
        assert got[-1] is procession.errors.PoolTerminatedError
    pool.join()


def end_of(function, *args):
    try:
        return function(*args)
    except Exception as error:
        return type(error)


# ---- odd figures ----------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [float("inf"), 1e300, 1e10, 10**400])
def test_a_time_limit_beyond_all_time_is_none(timeout):
    with fork.Pool(1) as pool:
        assert pool.apply(time.sleep, (0.2,), timeout=timeout) is None
        assert pool.apply(tasks.square, (3,)) == 9
    pool.join()


@pytest.mark.parametrize("figures", [{"retries": 1.5}, {"buffersize": 1.5}, {"timeout": "a"}])
def test_figures_of_the_wrong_type(figures):
    with fork.Pool(1) as pool, pytest.raises(TypeError):
        pool.apply(tasks.square, (3,), **figures)
    pool.join()
    for make in (fork.Pool, procession.ProcessPoolExecutor):
        with pytest.raises(TypeError):
            make(1.5)


# ---- iterables that fail --------------------------------------------------------------------


def ten_items_and_an_error():
    yield from range(10)
    raise KeyError("the iterable's")


def test_an_iterable_s_error_comes_after_the_results_of_its_items():
    with fork.Pool(2) as pool:
        results = pool.imap_unordered(tasks.square, ten_items_and_an_error())
        assert sorted(next(results) for _ in range(10)) == [x * x for x in range(10)]
        with pytest.raises(KeyError):
            next(results)
        with pytest.raises(StopIteration):
            next(results)
    pool.join()
