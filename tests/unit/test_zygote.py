"""The fork server: it forks and nothing more, and nobody is lost or doubled when it is shot."""

import os
import subprocess
import sys
import textwrap

import pytest


def program(folder, text, **modules):
    """A finished program of that text, beside modules of those texts."""
    for name, code in modules.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(code))
    path = folder / "program.py"
    path.write_text("import os, signal, sys, threading, time\nimport procession\n" + textwrap.dedent(text))
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done


def test_a_start_is_a_fork_of_the_one_zygote(tmp_path):
    """What a preloaded module drew by lot is the same in every child: no start runs an interpreter."""
    done = program(
        tmp_path,
        """
        ctx = procession.get_context("forkserver")

        def tell(conn):
            import lot
            conn.send((lot.NUMBER, lot.PID, os.getppid()))

        if __name__ == "__main__":
            ctx.set_forkserver_preload(["lot"])
            told = set()
            for _ in range(5):
                receiver, sender = ctx.Pipe(False)
                child = ctx.Process(target=tell, args=(sender,))
                child.start()
                told.add(receiver.recv())
                child.join()
            ((_, imported_by, parent),) = told
            assert imported_by == parent != os.getpid()
        """,
        lot="import os\nNUMBER, PID = os.urandom(8), os.getpid()\n",
    )
    assert done.stderr == ""


FAULTS = """
    import os, resource

    at_birth = 0

    def look():
        global at_birth
        at_birth = resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    os.register_at_fork(after_in_child=look)
"""


def test_later_children_are_born_with_the_pages_that_the_first_came_to_write(tmp_path):
    """The kernel counts pages that it was asked for among the faults."""
    done = program(
        tmp_path,
        """
        def tell():
            import faults
            print(faults.at_birth, flush=True)

        if __name__ == "__main__":
            ctx = procession.get_context("forkserver")
            ctx.set_forkserver_preload(["faults"])
            for _ in range(4):
                child = ctx.Process(target=tell)
                child.start()
                child.join()
        """,
        faults=FAULTS,
    )
    first, *_, last = map(int, done.stdout.split())
    assert last > first + 100


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_child_killed_while_it_tells_what_it_writes_is_only_that(tmp_path, when):
    program(
        tmp_path,
        """
        if __name__ == "__main__":
            ctx = procession.get_context("forkserver")
            ctx.set_forkserver_preload(["victim"])
            codes = []
            for _ in range(4):
                child = ctx.Process(target=sys.exit, args=(3,))
                child.start()
                child.join()
                codes.append(child.exitcode)
            assert codes == [-9, 3, 3, 3], codes
        """,
        victim=f"""
        import os, signal
        from procession import _native

        note, lives = _native.note_foresight, os.eventfd(1, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

        def shot():
            if "{when}" == "after":
                note()
            try:
                os.eventfd_read(lives)
            except BlockingIOError:
                note()
            else:
                os.kill(os.getpid(), signal.SIGKILL)

        _native.note_foresight = shot
        """,
    )


def test_a_zygote_that_a_pool_starts_has_what_its_workers_need(tmp_path):
    done = program(
        tmp_path,
        """
        def tell():
            print(*(f"procession._work.{name}" in sys.modules for name in ("worker", "answers")), flush=True)

        if __name__ == "__main__":
            ctx = procession.get_context("forkserver")
            with ctx.Pool(1):
                child = ctx.Process(target=tell)
                child.start()
                child.join()
        """,
    )
    assert done.stdout == "True True\n"


def test_the_zygote_tells_how_much_memory_a_child_had(tmp_path):
    done = program(
        tmp_path,
        """
        def grow(megabytes, ends):
            x = b"x" * (megabytes << 20)
            if ends:
                os.kill(os.getpid(), signal.SIGKILL)

        if __name__ == "__main__":
            ctx = procession.get_context("forkserver")
            for megabytes, ends in ((0, False), (64, False), (64, True)):
                child = ctx.Process(target=grow, args=(megabytes, ends))
                child.start()
                child.join()
                print(child.exitcode, child._popen.peak_memory >> 26)
        """,
    )
    assert done.stdout == "0 0\n0 1\n-9 1\n"


def test_a_zygote_starts_no_thread(tmp_path):
    program(
        tmp_path,
        """
        def threads_of_parent(count):
            count.value = len(os.listdir(f"/proc/{os.getppid()}/task"))

        if __name__ == "__main__":
            ctx = procession.get_context("forkserver")
            count = ctx.Value("i")
            child = ctx.Process(target=threads_of_parent, args=(count,))
            child.start()
            child.join()
            assert count.value == 1
        """,
    )


def test_a_preloaded_module_that_starts_threads_is_named(tmp_path):
    done = program(
        tmp_path,
        """
        if __name__ == "__main__":
            ctx = procession.get_context("forkserver")
            ctx.set_forkserver_preload(["busy"])
            child = ctx.Process(target=int)
            child.start()
            child.join()
            assert child.exitcode == 0
        """,
        busy="import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n",
    )
    assert "the preloaded module 'busy' has started 1 thread(s) in the fork server" in done.stderr


def test_a_main_program_that_starts_threads_is_not_forked(tmp_path):
    """No child is a copy of a process with threads: each imports such a program for itself."""
    done = program(
        tmp_path,
        """
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()

        def threads_of_parent(count):
            count.value = len(os.listdir(f"/proc/{os.getppid()}/task"))

        if __name__ == "__main__":
            ctx = procession.get_context("forkserver")
            count = ctx.Value("i")
            child = ctx.Process(target=threads_of_parent, args=(count,))
            child.start()
            child.join()
            assert (child.exitcode, count.value) == (0, 1)
        """,
    )
    assert done.stderr == ""


def test_a_main_program_whose_threads_end_before_a_fork_is_forked(tmp_path):
    """numpy's: it is imported once, whatever the number of children."""
    done = program(
        tmp_path,
        """
        import numpy

        IMPORTED_BY = os.getpid()

        def tell(conn):
            product = numpy.ones((300, 300)) @ numpy.ones((300, 300))
            conn.send((IMPORTED_BY == os.getppid(), product[0, 0], len(os.listdir(f"/proc/{os.getppid()}/task"))))

        if __name__ == "__main__":
            ctx = procession.get_context("forkserver")
            ctx.set_forkserver_preload(["__main__", "numpy.random"])
            for _ in range(2):
                receiver, sender = ctx.Pipe(False)
                child = ctx.Process(target=tell, args=(sender,))
                child.start()
                assert receiver.recv() == (True, 300.0, 1)
                child.join()
                assert child.exitcode == 0
        """,
    )
    assert done.stderr == ""


def test_children_outlive_their_zygote_and_are_still_watched(tmp_path):
    program(
        tmp_path,
        """
        from procession._launch.zygote import zygote

        def end(how, go):
            go.wait()
            if how < 0:
                os.kill(os.getpid(), -how)
            sys.exit(how)

        if __name__ == "__main__":
            ctx = procession.get_context("forkserver")
            go = ctx.Event()
            children = [ctx.Process(target=end, args=(how, go)) for how in (0, 3)]
            for child in children:
                child.start()
            first = zygote.pid
            os.kill(first, signal.SIGKILL)
            later = ctx.Process(target=end, args=(-9, go))
            later.start()
            assert zygote.pid != first
            assert all(child.is_alive() for child in children)
            go.set()
            for child in [*children, later]:
                child.join()
            assert [child.exitcode for child in [*children, later]] == [0, 3, -9]
        """,
    )


def test_the_end_of_a_child_is_heard_of_without_its_zygote_and_before_its_own_children_end(tmp_path):
    """What the child forked has copies of all that it had, and lives on."""
    program(
        tmp_path,
        """
        from procession._launch.zygote import zygote

        def fork_and_end(go, end):
            go.wait()
            if os.fork() == 0:
                end.wait()
                os._exit(0)
            sys.exit(3)

        if __name__ == "__main__":
            ctx = procession.get_context("forkserver")
            go, end = ctx.Event(), ctx.Event()
            child = ctx.Process(target=fork_and_end, args=(go, end))
            child.start()
            os.kill(zygote.pid, signal.SIGKILL)
            zygote.stop()
            go.set()
            child.join()
            assert child.exitcode == 3
            end.set()
        """,
    )


def test_a_child_whose_client_is_killed_before_its_go_ends(tmp_path):
    """Also when something that the client forked has copies of the client's sockets, and lives on."""
    program(
        tmp_path,
        """
        import select
        from procession._launch.zygote import zygote

        def start_and_die(tell, gate):
            ask = zygote.fork

            def fork():
                child = ask()
                os.write(tell, str(child.pid).encode())
                if os.fork() == 0:
                    os.read(gate, 1)
                    os._exit(0)
                os.kill(os.getpid(), signal.SIGKILL)

            zygote.fork = fork
            procession.get_context("forkserver").Process(target=int).start()

        if __name__ == "__main__":
            (told, tell), (gate, open_gate) = os.pipe(), os.pipe()
            client = os.fork()
            if client == 0:
                os.close(open_gate)
                start_and_die(tell, gate)
            os.waitpid(client, 0)
            try:
                pidfd = os.pidfd_open(int(os.read(told, 32)))
            except ProcessLookupError:
                sys.exit()
            assert select.select([pidfd], [], [], 20)[0]
        """,
    )


SHOOTER = """
    import os, pathlib, signal
    from procession._launch import datagram

    AIM, ZYGOTE = pathlib.Path("aim"), os.getpid()
    steps = int(AIM.read_text()) if AIM.exists() else 0  # the next zygote finds none, and lives

    def count_down():
        global steps
        steps -= os.getpid() == ZYGOTE
        if steps == 0 and os.getpid() == ZYGOTE:
            AIM.unlink()
            os.kill(ZYGOTE, signal.SIGKILL)

    def around(function):
        def call(*args):
            count_down()
            done = function(*args)
            count_down()
            return done
        return call

    datagram.send, datagram.receive, datagram.pair, os.fork, os.waitid = map(
        around, (datagram.send, datagram.receive, datagram.pair, os.fork, os.waitid)
    )
"""


def test_a_zygote_may_die_between_any_two_steps(tmp_path):
    """Before and after each of its messages, forks and waits: the process is started once, and its end is heard of."""
    done = program(
        tmp_path,
        """
        import pathlib
        from procession._launch.zygote import zygote

        AIM = pathlib.Path("aim")

        def count(runs):
            runs.add(1)
            sys.exit(3)

        if __name__ == "__main__":
            os.chdir(os.path.dirname(__file__))
            ctx = procession.get_context("forkserver")
            ctx.set_forkserver_preload(["shooter"])
            runs, step = ctx.Value("q"), 0
            while True:
                step += 1
                AIM.write_text(str(step))
                child = ctx.Process(target=count, args=(runs,))
                child.start()
                child.join()
                assert (child.exitcode, runs.value) == (3, step), (step, child.exitcode, runs.value)
                zygote.stop()
                if AIM.exists():
                    break
            print(step)
        """,
        shooter=SHOOTER,
    )
    assert int(done.stdout) > 10


def test_a_child_that_is_killed_before_it_says_that_it_lives_is_replaced(tmp_path):
    done = program(
        tmp_path,
        """
        if __name__ == "__main__":
            ctx = procession.get_context("forkserver")
            ctx.set_forkserver_preload(["victim"])
            child = ctx.Process(target=sys.exit, args=(3,))
            child.start()
            child.join()
            assert child.exitcode == 3
        """,
        victim="""
        import os, signal
        from procession._launch import datagram

        ZYGOTE, send, killed = os.getpid(), datagram.send, os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

        def shot(*args):
            if os.getpid() == ZYGOTE:
                return send(*args)
            try:
                os.eventfd_read(killed)
            except BlockingIOError:
                os.eventfd_write(killed, 1)
                os.kill(os.getpid(), signal.SIGKILL)
            os.eventfd_write(killed, 1)
            return send(*args)

        datagram.send = shot
        """,
    )
    assert done.stderr == ""


@pytest.mark.slow
def test_a_zygote_shot_among_starts_loses_and_doubles_nobody(tmp_path):
    """Eight threads start 200 processes, while the zygote is shot again and again, wherever it is in a request."""
    done = program(
        tmp_path,
        """
        from procession._launch.zygote import zygote

        def count(runs):
            runs.add(1)

        def start(ctx, runs, codes):
            for _ in range(25):
                child = ctx.Process(target=count, args=(runs,))
                child.start()
                child.join()
                codes.append(child.exitcode)

        def shoot(runs, stop, shot):
            aim = 0  # each zygote has its time: one that is shot at its every request is given up
            while not stop.wait(0.001):
                if zygote.pid not in {None, *shot} and runs.value >= aim:
                    shot.append(zygote.pid)
                    os.kill(shot[-1], signal.SIGKILL)
                    aim = runs.value + 16

        if __name__ == "__main__":
            ctx = procession.get_context("forkserver")
            runs, codes, shot, stop = ctx.Value("q"), [], [], threading.Event()
            shooter = threading.Thread(target=shoot, args=(runs, stop, shot))
            starters = [threading.Thread(target=start, args=(ctx, runs, codes)) for _ in range(8)]
            for thread in starters:
                thread.start()
            shooter.start()
            for thread in starters:
                thread.join()
            stop.set()
            shooter.join()
            print(len(shot), len(codes), runs.value, set(codes))
        """,
    )
    shot, codes, runs, kinds = done.stdout.split(maxsplit=3)
    assert (codes, runs, kinds.strip()) == ("200", "200", "{0}"), done.stderr
    assert int(shot) > 0


THOUSAND = {"fork": 1000, "forkserver": 1000, "spawn": int(os.environ.get("PROCESSION_TEST_SPAWNS", "100"))}


@pytest.mark.slow
@pytest.mark.parametrize("method", THOUSAND)
def test_a_thousand_starts_leave_nothing(tmp_path, method):
    program(
        tmp_path,
        f"""
        from procession import _native

        def traces():
            names = ["objects", "pinned", "spans", "members", "committed"]
            figures = _native.statistics()
            return (
                len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")),
                sorted(os.listdir("/dev/shm")), *(figures[name] for name in names),
            )

        def run(ctx, times, lock):
            for _ in range(times // 20):
                children = [ctx.Process(target=int, args=(), kwargs={{}}) for _ in range(19)]
                children.append(ctx.Process(target=lock.acquire))
                for child in children:
                    child.start()
                for child in children:
                    child.join()
                    assert child.exitcode == 0
                    child.close()
                lock.release()
            _native.sweep()

        if __name__ == "__main__":
            sys.stderr = open(os.devnull, "w")  # a lock left held is told of
            ctx = procession.get_context("{method}")
            lock = ctx.Lock()
            run(ctx, 100, lock)
            before = traces()
            run(ctx, {THOUSAND[method]}, lock)
            assert traces() == before, (before, traces())
        """,
    )
