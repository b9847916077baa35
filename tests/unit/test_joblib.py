"""joblib on procession: what its programs get from the backend."""

import gc
import os
import subprocess
import sys
import textwrap
import time
import warnings

import joblib
import pytest
import tasks

import procession.joblib
from procession.errors import WorkerDiedError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module", autouse=True)
def _registered():
    procession.joblib.register()


@pytest.fixture(autouse=True)
def _no_workers_stay():
    yield
    workers, procession.joblib.Workers.current = procession.joblib.Workers.current, None
    if workers is not None:
        workers.pool.terminate()
        workers.pool.join()


def in_parallel(function, items, **how):
    with joblib.parallel_config("procession", n_jobs=2):
        return joblib.Parallel(**how)(joblib.delayed(function)(item) for item in items)


def test_results_and_reused_workers():
    squares = [x * x for x in range(300)]
    assert in_parallel(tasks.square, range(300)) == squares
    assert in_parallel(tasks.square, range(300), batch_size=7, pre_dispatch="all") == squares
    pids = {pid for _ in range(3) for pid in in_parallel(tasks.pid_of_worker, range(20), batch_size=1)}
    assert len(pids) <= 2 and os.getpid() not in pids
    assert in_parallel(lambda x: x + len(squares), range(3)) == [300, 301, 302]


@pytest.mark.parametrize("how", ["generator", "generator_unordered"])
def test_generators(how):
    results = in_parallel(tasks.square, range(50), return_as=how)
    first = next(results)
    assert sorted([first, *results]) == [x * x for x in range(50)]
    results = in_parallel(tasks.square, range(1000), return_as=how)
    next(results)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # joblib says how much was in vain, if any
        del results
        gc.collect()
    assert in_parallel(tasks.square, range(3)) == [0, 1, 4]


def test_the_first_error_ends_the_call(tmp_path):
    def fail_or_wait(x):
        if x == 3:
            raise ZeroDivisionError(x)
        time.sleep(60)

    with pytest.raises(ZeroDivisionError) as caught:
        in_parallel(fail_or_wait, [3, *range(10, 20)], batch_size=1)
    assert "fail_or_wait" in str(caught.value.__cause__)
    assert in_parallel(tasks.square, range(3)) == [0, 1, 4]  # and nobody has waited a minute


def test_a_worker_s_death_is_told_and_the_next_call_works():
    with pytest.raises(WorkerDiedError) as caught:
        in_parallel(lambda x: tasks.die_at(x, 5), range(20))
    assert caught.value.exitcode == -9
    assert in_parallel(tasks.square, range(3)) == [0, 1, 4]


def test_a_time_limit():
    with pytest.raises(procession.TimeoutError):
        in_parallel(time.sleep, [60, 60], timeout=0.2)
    assert in_parallel(tasks.square, range(3)) == [0, 1, 4]


def test_calls_within_tasks():
    def nested(x, backend):
        procession.joblib.register()
        with joblib.parallel_config(backend, n_jobs=2):
            return sum(joblib.Parallel()(joblib.delayed(tasks.square)(y) for y in range(x)))

    for backend in ("threading", "procession"):
        work = [joblib.delayed(nested)(x, backend) for x in (3, 4)]
        assert joblib.Parallel(2, backend="procession")(work) == [5, 14]


def test_threads_of_libraries_are_limited_and_start_methods_chosen():
    with joblib.parallel_config("procession", n_jobs=2, inner_max_num_threads=3, start_method="spawn"):
        (limit,) = joblib.Parallel()([joblib.delayed(os.getenv)("OMP_NUM_THREADS")])
    assert limit == "3"
    with joblib.parallel_config("procession", n_jobs=1):
        assert joblib.Parallel()([joblib.delayed(os.getpid)()]) == [os.getpid()]
    assert procession.joblib.ProcessionBackend().effective_n_jobs(-1) == procession.cpus()


def test_joblibs_own_backend_is_as_under_python(tmp_path):
    """loky's queues replace what is inside the standard library's, and its files for large arrays are written in place."""
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
            import joblib, numpy, sys

            def fill(into, at):
                into[at] = at * at

            def kind(of):
                return type(of)

            if __name__ == "__main__":
                with joblib.Parallel(n_jobs=2) as parallel:
                    print(parallel(joblib.delayed(lambda x: x + 1)(x) for x in range(5)))
                    filled = numpy.memmap(sys.argv[1], dtype=float, shape=9, mode="w+")
                    parallel(joblib.delayed(fill)(filled, at) for at in range(9))
                    print(filled.tolist())
                    print(parallel([joblib.delayed(kind)(numpy.ones(1 << 18))]))
        """)
    )
    printed = [
        subprocess.run(
            [sys.executable, *runner, str(program), str(tmp_path / "filled")],
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        ).stdout
        for runner in ((), ("-m", "procession", "run"))
    ]
    assert printed[0] == printed[1] != ""
