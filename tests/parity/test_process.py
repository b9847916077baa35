"""Process by fork."""

import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from children import PATIENCE, finish


def sleep_for_ever():
    while True:
        time.sleep(PATIENCE)


def test_life_of_a_process(ctx, gate):
    go = gate()
    process = ctx.Process(target=go.wait, name="worker")
    assert (process.name, process.pid, process.ident, process.exitcode) == ("worker", None, None, None)
    assert process.is_alive() is False
    assert repr(process) == f"<ForkProcess name='worker' parent={os.getpid()} initial>"
    process.start()
    assert process.pid == process.ident != os.getpid()
    assert (process.is_alive(), process.exitcode) == (True, None)
    assert repr(process) == f"<ForkProcess name='worker' pid={process.pid} parent={os.getpid()} started>"
    go.open()
    assert process.join(PATIENCE) is None
    assert (process.is_alive(), process.exitcode) == (False, 0)
    assert (
        repr(process)
        == f"<ForkProcess name='worker' pid={process.pid} parent={os.getpid()} stopped exitcode=0>"
    )
    process.close()
    assert repr(process) == f"<ForkProcess name='worker' parent={os.getpid()} closed>"


def test_target_arguments(ctx):
    reader, writer = os.pipe()

    def tell(*args, **kwargs):
        os.write(writer, repr((args, kwargs, os.getpid())).encode())

    process = ctx.Process(target=tell, args=(1, "b"), kwargs={"c": 3}, name="N")
    process.start()
    assert finish(process) == 0
    assert os.read(reader, 1000).decode() == repr(((1, "b"), {"c": 3}, process.pid))
    os.close(reader)
    os.close(writer)


def test_no_target(ctx):
    process = ctx.Process()
    process.start()
    assert finish(process) == 0


def test_subclass(ctx):
    class Exiting(ctx.Process):
        def __init__(self, code):
            super().__init__()
            self.code = code

        def run(self):
            sys.exit(self.code)

    process = Exiting(7)
    process.start()
    assert finish(process) == 7
    assert process.name.startswith("Exiting-")


@pytest.mark.parametrize("how", [0, 1, 42, 255, None, "text", True])
def test_sys_exit(ctx, start, how, capfd):
    child = start(ctx, sys.exit, how)
    expected = {None: 0, "text": 1, True: 1}.get(how, how)
    assert finish(child) == expected
    assert ("text\n" in capfd.readouterr().err) == (how == "text")


def test_os_exit(ctx, start):
    assert finish(start(ctx, os._exit, 17)) == 17


def test_an_exception_is_printed_and_the_exit_code_is_one(ctx, start, capfd):
    def fail():
        raise LookupError("nothing there")

    child = start(ctx, fail, name="Failing")
    assert finish(child) == 1
    text = capfd.readouterr().err
    assert text.startswith("Process Failing:\nTraceback (most recent call last):\n")
    assert text.endswith("LookupError: nothing there\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGABRT])
def test_death_by_signal(ctx, start, number):
    def die():
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGABRT, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    child = start(ctx, die)
    assert finish(child) == -number
    assert f"exitcode=-{number.name}" in repr(child)


@pytest.mark.parametrize(("method", "number"), [("terminate", signal.SIGTERM), ("kill", signal.SIGKILL)])
def test_terminate_and_kill(ctx, start, method, number):
    child = start(ctx, sleep_for_ever)
    assert getattr(child, method)() is None
    assert finish(child) == -number
    getattr(child, method)()  # the dead are left alone
    assert child.exitcode == -number


def test_join_with_a_timeout(ctx, start, gate):
    go = gate()
    child = start(ctx, go.wait)
    began = time.monotonic()
    assert child.join(0.05) is None
    assert time.monotonic() - began >= 0.05
    assert child.exitcode is None
    for timeout in (0, -1, 0.0):
        child.join(timeout)
        assert child.is_alive()
    go.open()
    child.join(PATIENCE)
    child.join()
    child.join(0)
    assert child.exitcode == 0


def test_join_with_a_wrong_timeout(ctx, start, gate):
    go = gate()
    child = start(ctx, go.wait)
    with pytest.raises(TypeError):
        child.join("soon")
    go.open()
    assert finish(child) == 0


class TestMisuse:
    def test_starting_twice(self, ctx, start):
        child = start(ctx, int)
        with pytest.raises(AssertionError, match="cannot start a process twice"):
            child.start()
        assert finish(child) == 0
        with pytest.raises(AssertionError, match="cannot start a process twice"):
            child.start()

    def test_joining_before_starting(self, ctx):
        with pytest.raises(AssertionError, match="can only join a started process"):
            ctx.Process(target=int).join()

    def test_signalling_before_starting(self, ctx):
        for method in ("terminate", "kill"):
            with pytest.raises(AttributeError):
                getattr(ctx.Process(target=int), method)()

    def test_sentinel_before_starting(self, ctx):
        with pytest.raises(ValueError, match="process not started"):
            ctx.Process(target=int).sentinel

    def test_closing_a_running_process(self, ctx, start, gate):
        go = gate()
        child = start(ctx, go.wait)
        with pytest.raises(ValueError, match="Cannot close a process while it is still running"):
            child.close()
        go.open()
        assert finish(child) == 0

    def test_after_close(self, ctx, start):
        child = start(ctx, int)
        assert finish(child) == 0
        child.close()
        child.close()
        for use in ("start", "join", "is_alive", "terminate", "kill"):
            with pytest.raises(ValueError, match="process object is closed"):
                getattr(child, use)()
        for attribute in ("exitcode", "pid", "ident", "sentinel"):
            with pytest.raises(ValueError, match="process object is closed"):
                getattr(child, attribute)
        assert child.name

    def test_arguments(self, ctx):
        with pytest.raises(AssertionError, match="group argument must be None"):
            ctx.Process(group=1)
        with pytest.raises(TypeError):
            ctx.Process(args=3)
        with pytest.raises(TypeError):
            ctx.Process(tagret=int)
        with pytest.raises(AssertionError, match="name must be a string"):
            ctx.Process().name = 3
        with pytest.raises(TypeError):
            ctx.Process().authkey = "text"

    def test_another_processs_child(self, ctx, start):
        sibling = start(ctx, int)

        def misuse():
            for use in (sibling.join, sibling.is_alive):
                try:
                    use()
                except AssertionError:
                    continue
                sys.exit(9)

        assert finish(start(ctx, misuse)) == 0
        assert finish(sibling) == 0


class TestDaemons:
    def test_the_flag(self, ctx, mp):
        assert ctx.Process().daemon is False
        assert ctx.Process(daemon=True).daemon is True
        process = ctx.Process()
        process.daemon = True
        assert process.daemon is True
        assert mp.current_process().daemon is False
        with pytest.raises(TypeError):
            ctx.Process(None, int, "name", (), {}, True)

    def test_it_cannot_change_after_start(self, ctx, start):
        child = start(ctx, int)
        with pytest.raises(AssertionError, match="process has already started"):
            child.daemon = True
        assert finish(child) == 0

    def test_daemons_have_no_children(self, ctx, start):
        def have_a_child():
            try:
                ctx.Process().start()
            except AssertionError as error:
                sys.exit(3 if "daemonic processes are not allowed to have children" in str(error) else 4)

        assert finish(start(ctx, have_a_child, daemon=True)) == 3

    def test_daemons_end_with_their_parent_and_others_are_joined(self, mp):
        script = f"""
            import os, sys, time, {mp.__name__} as mp
            def tell(text):
                os.write(1, text.encode() + b"\\n")
            def work():
                time.sleep(0.2); tell("worked")
            def wait():
                tell(str(os.getpid())); time.sleep(100)
            ctx = mp.get_context("fork")
            ctx.Process(target=wait, daemon=True).start()
            ctx.Process(target=work).start()
            time.sleep(0.1); tell("main ends")
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
        )
        first, *rest = sorted(done.stdout.split("\n")[:-1], key=lambda line: not line.isdigit())
        assert rest == ["main ends", "worked"]
        assert not os.path.exists(f"/proc/{first}")


class TestIdentity:
    def test_the_main_process(self, mp):
        main = mp.current_process()
        assert (main.name, main.pid, main.ident, main.is_alive()) == (
            "MainProcess",
            os.getpid(),
            os.getpid(),
            True,
        )
        assert mp.parent_process() is None

    def test_names(self, ctx):
        first, second = ctx.Process(), ctx.Process()
        counts = [int(process.name.rpartition("-")[2]) for process in (first, second)]
        assert first.name.startswith("ForkProcess-")
        assert counts[1] == counts[0] + 1

    def test_in_the_child(self, mp, ctx, start, gate):
        def check():
            me, parent = mp.current_process(), mp.parent_process()
            assert (me.name, me.pid, me.exitcode) == ("child", os.getpid(), None)
            assert me is child_process[0]
            assert (parent.name, parent.pid, parent.ident) == ("MainProcess", os.getppid(), os.getppid())
            assert parent.is_alive()
            assert mp.active_children() == []
            assert me.authkey == mp.current_process().authkey
            grandchild = ctx.Process()
            assert grandchild.name.endswith(":1")

        child_process = []
        process = ctx.Process(target=check, name="child")
        child_process.append(process)
        process.start()
        assert finish(process) == 0

    def test_the_parents_end_is_seen(self, mp, ctx, start):
        """A grandchild waits for its parent's end, and says so to the test."""
        reader, writer = os.pipe()

        def watch():
            parent = mp.parent_process()
            assert parent.is_alive()
            os.write(writer, b"watching")
            parent.join(PATIENCE)
            os.write(writer, b"alive" if parent.is_alive() else b"ended")

        def have_a_child():
            ctx.Process(target=watch).start()
            os.read(reader, 8)
            os._exit(0)

        assert finish(start(ctx, have_a_child)) == 0
        assert select.select([reader], [], [], PATIENCE)[0]
        assert os.read(reader, 5) == b"ended"
        os.close(writer)
        assert os.read(reader, 1) == b""  # the grandchild is gone too
        os.close(reader)

    def test_authkey(self, mp, ctx, start):
        process = ctx.Process()
        assert process.authkey == mp.current_process().authkey
        process.authkey = b"secret"
        assert process.authkey == b"secret"
        assert mp.current_process().authkey != b"secret"

    def test_active_children(self, mp, ctx, start, gate):
        assert mp.active_children() == []
        go = gate()
        child = start(ctx, go.wait)
        assert mp.active_children() == [child]
        go.open()
        assert finish(child) == 0
        assert mp.active_children() == []

    def test_active_children_reaps(self, mp, ctx, start, gate):
        child = start(ctx, int)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert mp.active_children() == []
        assert not os.path.exists(f"/proc/{child.pid}")
        assert child.exitcode == 0


class TestSentinel:
    def test_it_becomes_readable(self, ctx, start, gate):
        go = gate()
        child = start(ctx, go.wait)
        assert isinstance(child.sentinel, int)
        assert select.select([child.sentinel], [], [], 0)[0] == []
        go.open()
        assert select.select([child.sentinel], [], [], PATIENCE)[0] == [child.sentinel]
        assert finish(child) == 0
        assert select.select([child.sentinel], [], [], 0)[0] == [child.sentinel]

    def test_connection_wait(self, ctx, start, gate, mp):
        import importlib

        connection = importlib.import_module(f"{mp.__name__}.connection")
        go = gate()
        first, second = start(ctx, go.wait), start(ctx, int)
        assert connection.wait([first.sentinel, second.sentinel], PATIENCE) == [second.sentinel]
        assert connection.wait([first.sentinel], 0.01) == []
        go.open()
        assert finish(first) == finish(second) == 0


def test_many_at_once(ctx, start):
    children = [start(ctx, sys.exit, number) for number in range(20)]
    assert [finish(child) for child in children] == list(range(20))


def test_joining_from_threads(ctx, start, gate):
    go = gate()
    child = start(ctx, go.wait)
    threads = [threading.Thread(target=child.join) for _ in range(4)]
    for thread in threads:
        thread.start()
    go.open()
    for thread in threads:
        thread.join()
    assert finish(child) == 0


def test_grandchildren(ctx, start):
    def have_a_child():
        child = ctx.Process(target=sys.exit, args=(5,))
        child.start()
        child.join()
        sys.exit(child.exitcode + 1)

    assert finish(start(ctx, have_a_child)) == 6


def test_no_descriptor_is_left(ctx, start):
    def open_descriptors():
        return set(os.listdir("/proc/self/fd"))

    finish(start(ctx, int))
    before = open_descriptors()
    for _ in range(3):
        process = ctx.Process(target=int)
        process.start()
        assert finish(process) == 0
        process.close()
    dropped = ctx.Process(target=int)
    dropped.start()
    assert finish(dropped) == 0
    del dropped, process
    assert open_descriptors() == before


class TestStandardStreams:
    def test_output_is_flushed_once(self, mp):
        script = f"""
            import sys, {mp.__name__} as mp
            sys.stdout.write("parent;")
            child = mp.get_context("fork").Process(target=sys.stdout.write, args=("child;",))
            child.start(); child.join()
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
        )
        assert done.stdout == "parent;child;"

    def test_a_child_reads_nothing(self, mp):
        script = f"""
            import sys, {mp.__name__} as mp
            def read():
                stdin = sys.stdin
                print(repr(stdin.read()), stdin.encoding, stdin.fileno() > 2, stdin.name != "<stdin>")
            child = mp.get_context("fork").Process(target=read)
            child.start(); child.join()
            print(sys.stdin.read())
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            input="text",
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "'' utf-8 True True\ntext\n"

    @pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
    def test_without_a_stream(self, mp, stream):
        script = f"""
            import sys, {mp.__name__} as mp
            sys.{stream} = None
            child = mp.get_context("fork").Process(target=int)
            child.start(); child.join(); sys.exit(child.exitcode)
        """
        subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)


class TestExit:
    def test_atexit_and_finalizers_run_in_children(self, mp):
        script = f"""
            import atexit, os, {mp.__name__} as mp, importlib
            util = importlib.import_module("{mp.__name__}.util")
            def work():
                util.Finalize(None, os.write, (1, b"finalizer\\n"), exitpriority=1)
            child = mp.get_context("fork").Process(target=work)
            child.start(); child.join()
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
        )
        assert done.stdout == "finalizer\n"

    def test_threads_are_waited_for(self, ctx, start, gate):
        entered, go = gate(), gate()

        def leave_a_thread():
            thread = threading.Thread(target=lambda: (entered.open(), go.wait(), os._exit(8)))
            thread.start()

        child = start(ctx, leave_a_thread)
        entered.wait()
        assert child.is_alive()
        go.open()
        assert finish(child) == 8


def test_ctrl_c_ends_a_join(mp):
    script = f"""
        import os, signal, threading, time, {mp.__name__} as mp
        def wait():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            time.sleep(100)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        child = mp.get_context("fork").Process(target=wait, daemon=True)
        child.start()
        main = threading.main_thread().ident
        threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT)).start()
        try:
            child.join()
        except KeyboardInterrupt:
            print("interrupted", child.is_alive())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "interrupted True\n"
