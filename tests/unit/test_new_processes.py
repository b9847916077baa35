"""Processes by spawn and forkserver: what ours promise beyond the standard library's."""

import multiprocessing
import os
import select
import signal
import subprocess
import sys
import textwrap
import threading

import pytest
import travellers
from children import PATIENCE, finish

import procession
from procession import _native

METHODS = ["spawn", "forkserver"]


@pytest.fixture(params=METHODS)
def ctx(request):
    return procession.get_context(request.param)


def script(folder, text, *words, **options):
    """A finished program of that text."""
    path = folder / "program.py"
    path.write_text(textwrap.dedent(text))
    return subprocess.run(
        [sys.executable, *words, path], cwd=folder, capture_output=True, text=True, timeout=50, **options
    )


def facts(ctx, start, **options):
    here, there = multiprocessing.Pipe()
    child = start(ctx, travellers.send_facts, there, **options)
    assert here.poll(PATIENCE)
    found = here.recv()
    assert finish(child) == 0
    here.close()
    there.close()
    return found


def test_a_child_knows_who_it_is(ctx, start):
    found = facts(ctx, start, name="worker")
    assert found["name"] == "worker"
    assert found["parent"] == (os.getpid(), True)
    assert found["cwd"] == os.getcwd()
    assert found["argv"] == sys.argv
    assert found["path"] == sys.path
    assert found["flags"] == tuple(sys.flags)
    assert found["sigint"]
    assert found["threads"] == 1


def test_a_child_finds_in_multiprocessing_what_it_finds_under_the_standard_library(start):
    """Libraries use `multiprocessing.reduction` without importing it."""
    theirs = facts(multiprocessing.get_context("spawn"), start)["multiprocessing"]
    assert "reduction" in theirs
    theirs -= {"popen_fork", "popen_spawn_posix"}  # what has started them
    for method in METHODS:
        assert theirs <= facts(procession.get_context(method), start)["multiprocessing"]


def test_a_child_has_few_descriptors(ctx, start):
    """The standard streams, the connection it was sent, the arena, its parent's pidfd; and what asks the zygote."""
    found = facts(ctx, start)["fds"]
    others = sorted(target for fd, target in found.items() if fd > 2 and target != "/dev/null")
    kinds = [
        target.partition(":")[0] for target in others
    ]  # a pipe is the resource tracker's, if another test started it
    assert len([target for target in others if "procession" in target]) == 1, found
    assert kinds.count("anon_inode") == 1, found
    assert kinds.count("socket") <= 3, found  # the pipe, the line, and the one to say its exit code on
    assert len(kinds) <= 6, found


def test_the_sentinel_is_a_pidfd(ctx, start):
    child = start(ctx, int)
    assert os.readlink(f"/proc/self/fd/{child.sentinel}") == "anon_inode:[pidfd]"
    assert finish(child) == 0


def test_every_kind_of_object_travels(ctx, start):
    things = {
        "lock": ctx.Lock(), "rlock": ctx.RLock(), "condition": ctx.Condition(), "semaphore": ctx.Semaphore(2),
        "bounded": ctx.BoundedSemaphore(1), "event": ctx.Event(), "barrier": ctx.Barrier(2),
        "value": ctx.Value("i", 1), "raw": ctx.RawValue("q", 2), "array": ctx.Array("d", [0.5, 1.0]),
        "rawarray": ctx.RawArray("i", 3),
    }  # fmt: skip
    child = start(ctx, travellers.use_everything, things)
    assert things["event"].wait(PATIENCE)
    things["barrier"].wait(PATIENCE)
    assert finish(child) == 0
    assert (things["value"].value, things["raw"].value) == (2, 3)
    assert (things["array"][:], things["rawarray"][:]) == ([1.5, 1.0], [0, 1, 0])


def test_the_standard_librarys_objects_travel(ctx, start):
    standard = multiprocessing.get_context(ctx.get_start_method())
    lock, value = standard.Lock(), standard.Value("i", 0)
    children = [start(ctx, travellers.count_up, lock, value, 50) for _ in range(2)]
    assert [finish(child) for child in children] == [0, 0]
    assert value.value == 100


def test_the_standard_librarys_shared_memory_survives_the_children(ctx, tmp_path):
    """They share one resource tracker: else that of the child would remove the segment when the child ends."""
    done = script(
        tmp_path,
        f"""
        import procession
        from multiprocessing import shared_memory
        def write(name):
            segment = shared_memory.SharedMemory(name)
            segment.buf[0] = 7
            segment.close()
        if __name__ == "__main__":
            ctx = procession.get_context({ctx.get_start_method()!r})
            segment = shared_memory.SharedMemory(create=True, size=10)
            for _ in range(2):
                child = ctx.Process(target=write, args=(segment.name,))
                child.start()
                child.join()
                assert child.exitcode == 0
            print(segment.buf[0])
            segment.close()
            segment.unlink()
    """,
    )
    assert (done.stdout, done.stderr) == ("7\n", "")


def test_no_resource_tracker_is_started_for_ours(ctx, tmp_path):
    done = script(
        tmp_path,
        f"""
        import sys, procession
        if __name__ == "__main__":
            ctx = procession.get_context({ctx.get_start_method()!r})
            child = ctx.Process(target=int)
            child.start()
            child.join()
            tracker = sys.modules.get("multiprocessing.resource_tracker")
            print(tracker is None or tracker._resource_tracker._fd is None)
    """,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_the_exact_signal(ctx, start, number):
    import resource

    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, before[1]))
    try:
        assert finish(start(ctx, travellers.die_by, int(number))) == -number
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


def test_a_child_killed_before_its_first_line(ctx, start):
    lock = ctx.Lock()
    child = start(ctx, travellers.count_up, lock, ctx.Value("i"), 1)
    child.kill()
    assert finish(child) in (-signal.SIGKILL, 0)
    assert _native.statistics()["members"] >= 1  # and the arena is looked at after each test


def test_joining_from_threads(ctx, start):
    event = ctx.Event()
    child = start(ctx, travellers.wait_and_exit, event, 3)
    threads = [threading.Thread(target=child.join) for _ in range(4)]
    for thread in threads:
        thread.start()
    event.set()
    for thread in threads:
        thread.join()
    assert child.exitcode == 3


def test_starting_from_threads(ctx, start):
    codes = []
    threads = [
        threading.Thread(
            target=lambda number=number: codes.append(finish(start(ctx, travellers.exit_with, number)))
        )
        for number in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == list(range(6))


def test_objects_may_be_dropped_at_once(ctx, start):
    event = ctx.Event()
    child = start(ctx, travellers.count_up, ctx.Lock(), ctx.Value("i"), 3)
    before = _native.fsck()["objects"]
    assert finish(child) == 0
    event.set()
    assert _native.fsck()["objects"] < before  # the child was the last who held them


def test_an_object_of_another_arena(ctx, start, tmp_path):
    """Made by a process that had an arena of its own before it met ours."""
    done = script(
        tmp_path,
        f"""
        import procession, sys
        lock = procession.Lock()                 # in a child: an arena of its own, at import
        def work(theirs, value):
            with lock, theirs:
                value.value += 1
            ours = procession.Lock()             # of the family again
            child = procession.get_context({ctx.get_start_method()!r}).Process(target=use, args=(ours, lock, value))
            child.start()
            child.join()
            sys.exit(child.exitcode)
        def use(one, other, value):
            with one, other:
                value.value += 1
        if __name__ == "__main__":
            value = procession.Value("i")
            child = procession.get_context({ctx.get_start_method()!r}).Process(target=work, args=(lock, value))
            child.start()
            child.join()
            print(child.exitcode, value.value)
    """,
    )
    assert (done.stdout, done.stderr) == ("0 2\n", "")


def test_many_descriptors_travel(ctx, start):
    """More than one message holds."""
    pipes = [multiprocessing.Pipe() for _ in range(230)]
    child = start(ctx, travellers.close_all, [there for _, there in pipes])
    assert finish(child) == 0
    for here, there in pipes:
        there.close()
        assert here.poll(PATIENCE)
        assert here.recv() == "here"
        here.close()


def test_large_arguments(ctx, start):
    here, there = multiprocessing.Pipe()
    child = start(ctx, len, bytes(30 << 20))
    assert finish(child) == 0
    for size in (1 << 15, (1 << 15) + 1, 1 << 20):  # about what fits into one message
        child = start(ctx, travellers.exit_with, 3, name="n" * size)
        assert finish(child) == 3
    here.close()
    there.close()


def test_a_parent_that_ends_at_once(ctx, tmp_path):
    """Its children have what they need, although they have not begun when it ends."""
    done = script(
        tmp_path,
        f"""
        import os, procession
        def work(lock, value, event, number):
            with lock:
                value.value += 1
                os.write(1, b"%d\\n" % number)
            event.set()
        if __name__ == "__main__":
            ctx = procession.get_context({ctx.get_start_method()!r})
            things = ctx.Lock(), ctx.Value("i"), ctx.Event()
            for number in range(4):
                ctx.Process(target=work, args=(*things, number)).start()
            os._exit(0)
    """,
    )
    assert (sorted(done.stdout.split()), done.stderr) == (["0", "1", "2", "3"], "")


def test_a_parent_that_is_killed_at_once(ctx, tmp_path):
    done = script(
        tmp_path,
        f"""
        import os, procession, signal
        def work(lock, value):
            with lock:
                value.value += 1
            os.write(1, b"done\\n")
        if __name__ == "__main__":
            ctx = procession.get_context({ctx.get_start_method()!r})
            ctx.Process(target=work, args=(ctx.Lock(), ctx.Value("i"))).start()
            os.kill(os.getpid(), signal.SIGKILL)
    """,
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGKILL, "done\n", "")


def test_a_main_program_that_ends_while_children_start(ctx, tmp_path):
    done = script(
        tmp_path,
        f"""
        import procession
        def work(lock, queue, value):
            with lock:
                value.value += 1
                print(value.value, flush=True)
        if __name__ == "__main__":
            ctx = procession.get_context({ctx.get_start_method()!r})
            lock, value = ctx.Lock(), ctx.Value("i")
            for _ in range(3):
                ctx.Process(target=work, args=(lock, ctx.Condition(lock), value)).start()
            del lock, value
    """,
    )
    assert (done.stdout, done.stderr) == ("1\n2\n3\n", "")


def test_ctrl_c_in_the_middle_of_many_starts(ctx, tmp_path):
    """One traceback, from the main process; nobody is left: whoever holds our end of the pipe would keep it open."""
    reader, writer = os.pipe()
    path = tmp_path / "program.py"
    path.write_text(
        textwrap.dedent(f"""
        import os, procession, time
        def sleep():
            time.sleep(1000)
        if __name__ == "__main__":
            ctx = procession.get_context({ctx.get_start_method()!r})
            children = []
            try:
                for number in range(50):
                    children.append(ctx.Process(target=sleep, daemon=True))
                    children[-1].start()
                    if number == 5:
                        os.write({writer}, b".")
                os.write({writer}, b"!")
                time.sleep(100)
            finally:
                os.close({writer})
    """)
    )
    program = subprocess.Popen(
        [sys.executable, path], stderr=subprocess.PIPE, text=True, pass_fds=[writer], cwd=tmp_path
    )
    os.close(writer)
    assert os.read(reader, 1) == b"."
    program.send_signal(signal.SIGINT)
    _, errors = program.communicate(timeout=PATIENCE)
    assert errors.count("Traceback") == 1
    assert errors.splitlines()[-1].startswith("KeyboardInterrupt")
    assert program.returncode == -signal.SIGINT
    while select.select([reader], [], [], PATIENCE)[0] and os.read(reader, 100):
        pass
    assert select.select([reader], [], [], 0)[0]  # the end: no child has it
    os.close(reader)


@pytest.mark.parametrize("method", ["fork", *METHODS])
def test_what_a_handler_interrupts_is_known_or_gone(tmp_path, method):
    """A handler may raise at any line of `start()`: the child is a process's then, or there is none."""
    done = script(
        tmp_path,
        f"""
        import multiprocessing, os, pathlib, procession, sys, time
        class Interruption(Exception):
            pass
        def children(pid):
            return pathlib.Path(f"/proc/{{pid}}/task/{{pid}}/children").read_text().split()
        def interrupted(ctx, after):
            steps = 0
            def trace(frame, event, arg):
                nonlocal steps
                if event == "line" and "/procession/" in frame.f_code.co_filename:
                    steps += 1
                    if steps == after:
                        raise Interruption
                return trace
            process = ctx.Process(target=time.sleep, args=(1000,))
            sys.settrace(trace)
            try:
                process.start()
            except Interruption:
                return True
            finally:
                sys.settrace(None)
            return False
        def main():
            ctx = procession.get_context("{method}")
            first = ctx.Process(target=int)
            first.start()
            first.join()
            for number in range(1, 400, 1 if "{method}" == "fork" else 5):
                was_interrupted = interrupted(ctx, number)
                for child in multiprocessing.active_children():
                    child.kill()
                    child.join()
                if not was_interrupted:
                    break
            else:
                print("never got through")
            from procession._launch.zygote import zygote
            while zygote.pid and len(children(zygote.pid)) > 1:  # the spare
                time.sleep(0.01)
            ours = set(map(int, children(os.getpid()))) - {{zygote.pid}}
            print("left", ours, number > 30)
        if __name__ == "__main__":
            main()
    """,
    )
    assert (done.stdout, done.stderr) == ("left set() True\n", "")


def test_what_cannot_be_started_leaves_nothing(ctx):
    process = ctx.Process(target=int, args=(threading.Lock(),), name="n")
    with pytest.raises(TypeError, match="cannot pickle"):
        process.start()
    assert (process.pid, process.exitcode, process.is_alive()) == (None, None, False)
    assert process not in multiprocessing.active_children()
    process._args = ()
    process.start()
    assert finish(process) == 0
    process.close()


class TestInterpreters:
    @pytest.mark.parametrize(
        "words", [[], ["-I"], ["-E", "-S"], ["-X", "dev"], ["-O"], ["-W", "error"]], ids=" ".join
    )
    def test_flags(self, ctx, tmp_path, words):
        """A child finds procession and has its parent's flags, whatever they keep from it."""
        folder = os.path.dirname(os.path.dirname(procession.__file__))
        done = script(
            tmp_path,
            f"""
            import sys
            sys.path.append({folder!r})
            import procession
            def tell():
                print(tuple(sys.flags), sys.warnoptions, sys.path[-1], flush=True)
            if __name__ == "__main__":
                tell()
                child = procession.get_context({ctx.get_start_method()!r}).Process(target=tell)
                child.start()
                child.join()
        """,
            *words,
        )
        assert done.stderr == ""
        ours, the_childs = done.stdout.splitlines()
        assert the_childs == ours

    def test_a_folder_that_was_left(self, ctx, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        done = script(
            tmp_path,
            f"""
            import os, procession
            def tell():
                print(os.getcwd(), flush=True)
            if __name__ == "__main__":
                os.chdir("elsewhere")
                child = procession.get_context({ctx.get_start_method()!r}).Process(target=tell)
                child.start()
                child.join()
        """,
        )
        assert (done.stdout, done.stderr) == (f"{tmp_path}/elsewhere\n", "")

    def test_a_program_in_a_package(self, ctx, tmp_path):
        (tmp_path / "package").mkdir()
        (tmp_path / "package" / "program.py").write_text(
            textwrap.dedent(f"""
            import procession
            from . import __name__ as package
            class Thing:
                pass
            def work(thing):
                print(package, isinstance(thing, Thing), __name__, flush=True)
            if __name__ == "__main__":
                child = procession.get_context({ctx.get_start_method()!r}).Process(target=work, args=(Thing(),))
                child.start()
                child.join()
        """)
        )
        done = subprocess.run(
            [sys.executable, "-m", "package.program"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert (done.stdout, done.stderr) == ("package True __mp_main__\n", "")

    def test_a_tool_that_replaces_the_command_line(self, ctx, tmp_path):
        """As viztracer does: the standard library's own entry reads what we send."""
        if ctx.get_start_method() != "spawn":
            pytest.skip("only spawned children have a command line")
        done = script(
            tmp_path,
            """
            import multiprocessing.spawn, procession, sys
            def get_command_line(**words):
                code = "import os; os.write(1, b'tool\\\\n'); from multiprocessing.spawn import spawn_main; "
                code += "spawn_main(%s)" % ", ".join("%s=%r" % item for item in words.items())
                return [sys.executable, "-c", code, "--multiprocessing-fork"]
            def work(lock):
                with lock:
                    parent = procession.parent_process()
                    print(parent.name, parent.is_alive(), flush=True)
            if __name__ == "__main__":
                multiprocessing.spawn.get_command_line = get_command_line
                child = procession.get_context("spawn").Process(target=work, args=(procession.Lock(),))
                child.start()
                child.join()
        """,
        )
        assert (done.stdout, done.stderr) == ("tool\nMainProcess True\n", "")

    def test_a_program_made_into_an_executable(self, ctx, tmp_path):
        """It has no interpreter: what is started is the program, and freeze_support() finds out as what."""
        program = tmp_path / "frozen"
        program.write_text(
            f"#!{sys.executable}\n"
            + textwrap.dedent(f"""
            import sys
            sys.frozen, sys.executable = True, __file__
            import procession
            def work(lock, value):
                with lock:
                    value.value += 1
                print("worked", flush=True)
            if __name__ == "__main__":
                procession.freeze_support()
                ctx = procession.get_context({ctx.get_start_method()!r})
                value = ctx.Value("i")
                for _ in range(2):
                    child = ctx.Process(target=work, args=(ctx.Lock(), value))
                    child.start()
                    child.join()
                print(value.value, child.exitcode)
        """)
        )
        program.chmod(0o755)
        done = subprocess.run([program], capture_output=True, text=True, timeout=50)
        assert (done.stdout, done.stderr) == ("worked\nworked\n2 0\n", "")


def test_an_interpreter_that_is_not_there_is_named(ctx, tmp_path):
    done = script(
        tmp_path,
        f"""
        import os, procession
        ctx = procession.get_context({ctx.get_start_method()!r})
        ctx.set_executable("/not/there/python")
        held = []
        for _ in range(2):  # the first leaves the arena
            child = ctx.Process(target=int)
            try:
                child.start()
            except FileNotFoundError as error:
                print(error.filename, child.pid, ctx.active_children())
            held.append(os.listdir("/proc/self/fd"))
        print(held[0] == held[1])
    """,
    )
    assert (done.stdout, done.stderr) == ("/not/there/python None []\n" * 2 + "True\n", "")


class TestInstalled:
    def test_children_are_before_their_main_module_is_imported(self, ctx, tmp_path):
        done = script(
            tmp_path,
            f"""
            import multiprocessing
            print(multiprocessing.Process.__module__, flush=True)
            def work():
                pass
            if __name__ == "__main__":
                import procession
                procession.install()
                ctx = multiprocessing.get_context({ctx.get_start_method()!r})
                child = ctx.Process(target=work)
                child.start()
                child.join()
        """,
        )
        assert done.stderr == ""
        assert done.stdout.splitlines() == ["multiprocessing.context", "procession.context"]


@pytest.mark.parametrize("method", METHODS)
def test_few_descriptors_are_allowed(tmp_path, method):
    done = script(
        tmp_path,
        f"""
        import procession, resource
        def put(queue):
            queue.put(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        if __name__ == "__main__":
            resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
            ctx = procession.get_context("{method}")
            queue = ctx.Queue()
            child = ctx.Process(target=put, args=(queue,))
            child.start(); child.join(); print(queue.get(timeout=10), child.exitcode)
    """,
    )
    assert (done.stdout, done.stderr) == ("32 0\n", "")


@pytest.mark.parametrize("method", ["fork", *METHODS])
def test_an_exit_code_that_is_no_byte(tmp_path, method):
    done = script(
        tmp_path,
        f"""
        import procession, sys
        if __name__ == "__main__":
            ctx = procession.get_context("{method}")
            for code in (300, -3, 2**31 + 5):
                child = ctx.Process(target=sys.exit, args=(code,))
                child.start(); child.join(); print(child.exitcode)
    """,
    )
    assert (done.stdout.split(), done.stderr) == (["44", "253", "5"], "")
