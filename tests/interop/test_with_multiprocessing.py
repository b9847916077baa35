"""The standard library's objects in our processes, and ours in the standard library's."""

import multiprocessing
import multiprocessing.connection
import os
import subprocess
import sys
import textwrap

import pytest
from children import PATIENCE, finish

import procession

_ = multiprocessing.RawValue("i")  # the standard library's heap opens a file at its first object and keeps it
ours = procession.get_context("fork")
theirs = multiprocessing.get_context("fork")
WORLDS = [(ours, theirs), (theirs, ours)]
IDS = ["our process, their objects", "their process, our objects"]


@pytest.fixture(params=WORLDS, ids=IDS)
def worlds(request):
    """The context of the process, and that of the objects it uses."""
    return request.param


def test_locks(worlds, start):
    processes, objects = worlds
    lock, value = objects.Lock(), objects.Value("i", 0)

    def add():
        for _ in range(200):
            with lock:
                value.value += 1

    assert [finish(child) for child in [start(processes, add) for _ in range(2)]] == [0, 0]
    assert value.value == 400


def test_conditions(worlds, start):
    processes, objects = worlds
    condition, value = objects.Condition(), objects.Value("i", 0)

    def wait():
        with condition:
            assert condition.wait_for(lambda: value.value == 3, PATIENCE)
            value.value = 4
            condition.notify_all()

    child = start(processes, wait)
    with condition:
        value.value = 3
        condition.notify_all()
        assert condition.wait_for(lambda: value.value == 4, PATIENCE)
    assert finish(child) == 0


def test_a_condition_over_our_lock(start):
    for lock in (procession.Lock(), procession.RLock()):
        condition = multiprocessing.Condition(lock)
        with condition:
            assert condition.wait(0.01) is False
        assert not lock._semlock._is_zero()


@pytest.mark.parametrize("make", ["SimpleQueue", "Queue", "JoinableQueue"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_queues(worlds, start, make):
    processes, objects = worlds
    requests, answers = getattr(objects, make)(), getattr(objects, make)()

    def double():
        while (number := requests.get()) is not None:
            answers.put(number * 2)

    child = start(processes, double)
    for number in (1, 2, 3, None):
        requests.put(number)
    assert [answers.get() for _ in range(3)] == [2, 4, 6]
    assert finish(child) == 0
    for queue in (requests, answers):
        queue.close()
        if make != "SimpleQueue":
            queue.join_thread()


def test_connections_travel(worlds, start):
    processes, objects = worlds
    one, two = objects.Pipe()
    child = start(processes, lambda: two.send(two.recv() + 1))
    one.send(41)
    assert one.recv() == 42
    assert finish(child) == 0
    one.close()
    two.close()


def test_events_semaphores_barriers(worlds, start):
    processes, objects = worlds
    event, semaphore, barrier = objects.Event(), objects.Semaphore(0), objects.Barrier(2)

    def meet():
        assert event.wait(PATIENCE)
        semaphore.release()
        barrier.wait(PATIENCE)

    child = start(processes, meet)
    event.set()
    assert semaphore.acquire(timeout=PATIENCE)
    barrier.wait(PATIENCE)
    assert finish(child) == 0


def test_both_see_all_processes(start, gate):
    go = gate()
    children = {start(ours, go.wait), start(theirs, go.wait)}
    assert set(multiprocessing.active_children()) == set(procession.active_children()) == children
    ready = multiprocessing.connection.wait([child.sentinel for child in children], 0)
    assert ready == []
    go.open()
    go.open()
    assert [finish(child) for child in children] == [0, 0]
    assert multiprocessing.active_children() == []


def test_who_am_i_in_either_world(start):
    def check():
        assert multiprocessing.current_process() is procession.current_process()
        assert multiprocessing.parent_process().pid == procession.parent_process().pid == os.getppid()

    for ctx in (ours, theirs):
        assert finish(start(ctx, check)) == 0


def script(tmp_path, text, *words, **options):
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(text))
    return subprocess.run(
        [sys.executable, *words, path], cwd=tmp_path, capture_output=True, text=True, check=False, **options
    )


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("processes", ["multiprocessing", "procession"])
@pytest.mark.parametrize("objects", ["multiprocessing", "procession"])
def test_in_new_interpreters(tmp_path, method, processes, objects):
    done = script(
        tmp_path,
        f"""
        import multiprocessing, procession
        def work(lock, condition, event, queue, value):
            with lock, condition:
                value.value += 1
            event.set()
            queue.put("done")
        if __name__ == "__main__":
            ctx = {objects}.get_context("{method}")
            lock, condition, event = ctx.Lock(), ctx.Condition(), ctx.Event()
            queue, value = ctx.Queue(), ctx.Value("i", 1)
            make = {processes}.get_context("{method}").Process
            child = make(target=work, args=(lock, condition, event, queue, value))
            child.start()
            print(queue.get(), event.wait(20), value.value)
            child.join()
            print(child.exitcode)
    """,
    )
    assert (done.stdout, done.stderr) == ("done True 2\n0\n", "")


def test_logging_names_the_process(tmp_path):
    done = script(
        tmp_path,
        """
        import logging, procession
        logging.basicConfig(format="%(processName)s %(message)s")
        def log():
            logging.warning("hello")
        child = procession.get_context("fork").Process(target=log, name="Logger")
        child.start(); child.join(); log()
    """,
    )
    assert done.stderr == "Logger hello\nMainProcess hello\n"


def test_the_standard_librarys_logger(tmp_path):
    done = script(
        tmp_path,
        """
        import logging, procession
        procession.log_to_stderr(logging.INFO)
        child = procession.get_context("fork").Process(target=int, name="Child")
        child.start(); child.join()
    """,
    )
    lines = done.stderr.splitlines()
    assert "[INFO/Child] child process calling self.run()" in lines
    assert "[INFO/Child] process exiting with exitcode 0" in lines
    assert "[INFO/MainProcess] process shutting down" in lines


def test_faulthandler(tmp_path):
    done = script(
        tmp_path,
        """
        import faulthandler, resource, procession
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        def crash_here():
            faulthandler._sigsegv()
        child = procession.get_context("fork").Process(target=crash_here)
        child.start(); child.join(); print(child.exitcode)
    """,
        "-X",
        "faulthandler",
    )
    assert done.stdout == "-11\n"
    assert "in crash_here" in done.stderr


def test_coverage_of_children(tmp_path):
    pytest.importorskip("coverage")
    (tmp_path / "code.py").write_text("def work():\n    return 1\n\n\ndef idle():\n    return 2\n")
    (tmp_path / ".coveragerc").write_text(
        "[run]\nconcurrency = multiprocessing\nparallel = true\nsource = .\n"
    )
    done = script(
        tmp_path,
        """
        import sys; sys.path.insert(0, ".")
        import procession, code as c, importlib.util
        spec = importlib.util.spec_from_file_location("work_code", "code.py")
        module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)
        child = procession.get_context("fork").Process(target=module.work)
        child.start(); child.join()
    """,
        "-m",
        "coverage",
        "run",
    )
    assert done.returncode == 0, done.stderr
    subprocess.run([sys.executable, "-m", "coverage", "combine", "-q"], cwd=tmp_path, check=True)
    done = subprocess.run(
        [sys.executable, "-m", "coverage", "report", "-m", "--include", "code.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[2].split()[-1] == "6", done.stdout  # line 2 ran, in the child only


def test_a_process_pool_executor_with_our_context(tmp_path):
    done = script(
        tmp_path,
        """
        import concurrent.futures, procession
        def square(x):
            return x * x, type(procession.current_process()).__name__
        if __name__ == "__main__":
            for method in ("fork", "spawn"):
                ctx = procession.get_context(method)
                with concurrent.futures.ProcessPoolExecutor(2, mp_context=ctx) as executor:
                    print(list(executor.map(square, range(3))))
    """,
    )
    forked, spawned = (str([(n * n, name) for n in range(3)]) for name in ("ForkProcess", "SpawnProcess"))
    assert (done.stdout, done.stderr) == (f"{forked}\n{spawned}\n", "")


def test_pools_and_managers(tmp_path):
    done = script(
        tmp_path,
        """
        import procession, procession.pool, procession.managers
        def name(_):
            return type(procession.current_process()).__name__
        if __name__ == "__main__":
            with procession.Pool(2) as pool:
                print(set(pool.map(name, range(4))), isinstance(pool, procession.pool.Pool))
            with procession.pool.Pool(2) as pool:
                print(set(pool.map(name, range(4))))
            with procession.Manager() as manager:
                print(manager.list([1, 2])[:], manager.Lock().acquire())
            with procession.managers.SyncManager() as manager:
                print(manager.dict(a=1).copy(), manager._process, manager.address[:1].encode())
                print(type(manager._process).__name__)
    """,
    )
    assert done.stderr == ""
    name = "ForkProcess" if procession.get_all_start_methods()[0] == "fork" else "ForkServerProcess"
    assert done.stdout.splitlines() == [
        f"{{'{name}'}} True", f"{{'{name}'}}", "[1, 2] True", "{'a': 1} None b'\\x00'", name,
    ]  # fmt: skip
