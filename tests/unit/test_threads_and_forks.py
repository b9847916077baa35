"""The warning of a fork while other threads run."""

import concurrent.futures
import contextlib
import ctypes
import multiprocessing.resource_sharer
import os
import subprocess
import sys
import textwrap
import threading
import warnings

import pytest
from children import finish

import procession
from procession import ForkWithThreadsWarning

fork = procession.get_context("fork")

# The interpreter's own, which comes after ours; pytest passes on what a test did not expect.
pytestmark = pytest.mark.filterwarnings(r"ignore:.*lead to deadlocks in the child\.:DeprecationWarning")

NATIVE = r"( \(and \d+ that Python did not start\))?"  # numpy's, where the tests' own tools import it


@pytest.fixture
def thread():
    """Starts threads that wait; ends them after the test."""
    over = threading.Event()
    started = []

    def begin(name):
        started.append(threading.Thread(target=over.wait, name=name))
        started[-1].start()

    yield begin
    over.set()
    for one in started:
        one.join()


def start():
    process = fork.Process(target=int)
    process.start()
    assert finish(process) == 0
    process.close()


def test_threads_are_named(thread):
    thread("logs")
    thread("metrics")
    with pytest.warns(
        ForkWithThreadsWarning, match=f"locks are held by threads 'logs', 'metrics'{NATIVE}, and"
    ) as caught:
        start()
    assert caught[0].filename == __file__
    assert f"(pid={os.getpid()}) is multi-threaded, use of fork() may lead to deadlocks" in str(
        caught[0].message
    )


def test_alone_there_is_nothing_to_say():
    start()


def test_as_an_error_it_leaves_no_process(thread):
    thread("logs")
    process = fork.Process(target=int)
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(ForkWithThreadsWarning):
        process.start()
    assert set(os.listdir("/proc/self/fd")) == before
    assert not process.is_alive()
    assert process not in procession.active_children()
    with pytest.warns(ForkWithThreadsWarning):
        process.start()
    assert finish(process) == 0
    process.close()


def test_filters_made_for_the_interpreter_s_warning_fit(thread):
    thread("logs")
    for how in (
        {"category": DeprecationWarning},
        {"message": ".*fork.*may lead to deadlocks in the child.*", "category": DeprecationWarning},
    ):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", **how)
            start()


def test_a_long_list_is_cut(thread):
    for number in range(12):
        thread(f"number-{number}")
    with pytest.warns(ForkWithThreadsWarning, match=f"'number-9' and 2 more{NATIVE}, and"):
        start()


def test_a_site_is_told_once(thread):
    thread("logs")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            start()
    ours = [one for one in caught if one.category is ForkWithThreadsWarning]
    assert len(ours) == 1


def test_threads_of_the_library_s_queues_and_pools_are_prepared():
    """The standard library's forget their locks in a child, and start again."""
    queue = multiprocessing.get_context("fork").Queue()
    queue.put(1)  # starts a thread
    start()
    assert queue.get() == 1
    queue.close()
    queue.join_thread()


def test_the_thread_that_hands_out_the_library_s_descriptors_is_prepared():
    """It begins when a connection is pickled, and its locks are new in a child."""
    ours, other = multiprocessing.Pipe()
    with ours, other:
        multiprocessing.reduction.ForkingPickler.dumps(other)
        try:
            assert threading.active_count() > 1
            with warnings.catch_warnings():
                warnings.simplefilter("error", ForkWithThreadsWarning)
                start()
        finally:
            multiprocessing.resource_sharer.stop(timeout=10)


def test_threads_of_a_thread_pool_are_the_program_s():
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine") as pool:
        pool.submit(int).result()
        with pytest.warns(ForkWithThreadsWarning, match=f"thread 'mine_0'{NATIVE}, and"):
            start()


def test_a_native_thread_that_has_ended_is_not_mentioned():
    """It has called Python once, and `threading` knows it for ever since."""
    libc = ctypes.CDLL(None)

    @ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
    def run(_argument):
        threading.current_thread()

    def have_had_a_thread():
        pthread = ctypes.c_ulong()
        assert libc.pthread_create(ctypes.byref(pthread), None, run, None) == 0
        assert libc.pthread_join(pthread, None) == 0
        start()

    child = fork.Process(target=have_had_a_thread)
    child.start()
    assert finish(child) == 0
    child.close()


def test_native_threads_are_counted(thread):
    """Alone they are no reason to warn: numerical libraries have them, and see to their forks."""
    libc = ctypes.CDLL(None)
    pthread = ctypes.c_ulong()
    pause = ctypes.cast(libc.pause, ctypes.c_void_p)
    assert libc.pthread_create(ctypes.byref(pthread), None, pause, None) == 0
    try:
        start()
        thread("logs")
        with pytest.warns(ForkWithThreadsWarning, match=r"'logs' \(and \d+ that Python did not start\)"):
            start()
    finally:
        libc.pthread_cancel(pthread)
        libc.pthread_join(pthread, None)


def test_a_native_thread_that_ends_makes_no_new_warning(thread):
    libc = ctypes.CDLL(None)
    pthread = ctypes.c_ulong()
    thread("logs")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for has_native in (True, False):
            if has_native:
                pause = ctypes.cast(libc.pause, ctypes.c_void_p)
                assert libc.pthread_create(ctypes.byref(pthread), None, pause, None) == 0
            start()
            if has_native:
                libc.pthread_cancel(pthread)
                libc.pthread_join(pthread, None)
    assert [one.category for one in caught].count(ForkWithThreadsWarning) == 1


@pytest.mark.parametrize(
    ("place", "is_shown"), [("main", True), ("module", False)], ids=["in __main__", "elsewhere"]
)
def test_by_default_it_is_shown_where_the_main_module_starts_the_process(tmp_path, place, is_shown):
    code = """
        import procession, threading, time
        threading.Thread(target=time.sleep, args=(1000,), name="logs", daemon=True).start()
        process = procession.get_context("fork").Process(target=int)
        process.start()
        process.join()
    """
    (tmp_path / "module.py").write_text(textwrap.dedent(code))
    (tmp_path / "main.py").write_text("import module" if place == "module" else textwrap.dedent(code))
    said = subprocess.run([sys.executable, tmp_path / "main.py"], capture_output=True, text=True)
    assert said.returncode == 0
    if is_shown:
        assert f"{tmp_path}/main.py:5: ForkWithThreadsWarning: This process (pid=" in said.stderr
        assert "process.start()" in said.stderr
    else:
        assert said.stderr == ""


def test_starting_by_the_default_context_from_a_pool_names_the_program_s_line(thread):
    thread("logs")
    with pytest.warns(ForkWithThreadsWarning) as caught, contextlib.closing(fork.Pool(1)) as pool:
        assert pool.apply(int) == 0
    pool.join()
    assert {one.filename for one in caught if one.category is ForkWithThreadsWarning} == {__file__}
