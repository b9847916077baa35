"""Programs whose main process is killed, and what is left of them then.

`python family.py METHOD SCENE` plays a scene of this file: it starts processes, which say their names and pids on
standard output, and sleeps. A test plays one with the fixture `family`, kills whom it likes and asks who is gone.
"""

import contextlib
import ctypes
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

import pytest

PATIENCE = 20.0  # seconds before a test gives up on an end that never comes
METHODS = ["fork", "spawn", "forkserver"]
LONG = 1000  # seconds that a process sleeps that is to be killed


class Relative:
    """A process of the family, told from all others by its pidfd."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)

    def is_gone(self, seconds: float = PATIENCE) -> bool:
        return bool(select.select([self._pidfd], [], [], seconds)[0])

    def lives(self) -> bool:
        """Alive, and with no signal left to be acted on."""
        while any(int(mask, 16) for mask in self._pending()):
            time.sleep(0.001)
        return not self.is_gone(0)

    def _pending(self) -> list[str]:
        try:
            with open(f"/proc/{self.pid}/status") as file:
                return re.findall(r"^S[hi][dg]Pnd:\s*(\w+)", file.read(), re.MULTILINE)
        except OSError:
            return []

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def close(self) -> None:
        self.kill()
        self.is_gone()
        os.close(self._pidfd)


class Family:
    """A scene being played: `family["victim"]` waits until that process has said its name."""

    def __init__(self, method: str, scene: str, *arguments: str) -> None:
        command = [sys.executable, __file__, method, scene, *arguments]
        # The standard library's fork server has its socket in a folder that a killed program leaves behind.
        self._folder = tempfile.TemporaryDirectory()
        environment = {**os.environ, "TMPDIR": self._folder.name}
        self._program = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=environment
        )
        self._relatives: dict[str, Relative] = {}
        self._names: set[str] = set()
        self._said = b""

    def __getitem__(self, name: str) -> Relative:
        deadline = time.monotonic() + PATIENCE
        while name not in self._relatives:
            self._meet(self._line(deadline))
        return self._relatives[name]

    def names(self) -> set[str]:
        """What has been said by now."""
        with contextlib.suppress(TimeoutError, EOFError):
            while True:
                self._meet(self._line(0))
        return self._names

    def _meet(self, line: str) -> None:
        name, pid = line.split()
        self._names.add(name)
        with contextlib.suppress(ProcessLookupError):  # he has said it, and ended
            self._relatives[name] = Relative(int(pid))

    def _line(self, deadline: float) -> str:
        assert self._program.stdout is not None
        while b"\n" not in self._said:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._program.stdout], [], [], left)[0]:
                raise TimeoutError(f"only {sorted(self._relatives)} have come")
            more = os.read(self._program.stdout.fileno(), 4096)
            if not more:
                raise EOFError(f"only {sorted(self._relatives)} have come")
            self._said += more
        line, _, self._said = self._said.partition(b"\n")
        return line.decode()

    def go_on(self) -> None:
        """Let the main process pass `wait_for_test`."""
        assert self._program.stdin is not None
        self._program.stdin.write(b"\n")

    def kill_main(self) -> None:
        self._program.kill()
        self._program.wait()

    def close(self) -> None:
        self.names()
        for relative in self._relatives.values():
            relative.close()
        self._program.kill()
        self._program.wait()
        for pipe in (self._program.stdin, self._program.stdout):
            assert pipe is not None
            pipe.close()
        self._folder.cleanup()


@pytest.fixture
def family() -> Iterator[Callable[..., Family]]:
    """Plays scenes: `family(method, scene)`; whoever has said his name is dead afterwards."""
    played: list[Family] = []

    def play(method: str, scene: str, *arguments: str) -> Family:
        played.append(Family(method, scene, *arguments))
        return played[-1]

    yield play
    for one in played:
        one.close()


# ---- what the processes do --------------------------------------------------


def say(name: str) -> None:
    os.write(1, f"{name} {os.getpid()}\n".encode())


def wait_for_test() -> None:
    os.read(0, 1)


def sleep() -> None:
    time.sleep(LONG)


def doze() -> None:
    """Sleep in short spells: a signal that comes right before a sleep is acted on after it."""
    while True:
        time.sleep(0.05)


def compute() -> None:
    while True:
        pass


def hold_the_gil() -> None:
    ctypes.PyDLL(None).sleep(LONG)


def match_for_ever() -> None:
    re.match(r"(a*)*b", "a" * 60)


def have_many_threads() -> None:
    for work in (sleep, compute, sleep):
        threading.Thread(target=work).start()
    compute()


def use_up_descriptors() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
    with contextlib.suppress(OSError):
        while True:
            os.open("/dev/null", os.O_RDONLY)
    fork("forked")
    sleep()


def be(name: str, work: str = "sleep") -> None:
    say(name)
    globals()[work]()


def be_a_worker(method: str) -> None:
    """A process with relatives of all kinds, three generations of them."""
    start(method, "child", daemon=False)
    start(method, "child_with_child", "have_a_child", daemon=False)
    fork("forked")
    execute("executed")
    execute("executed_by_shell", "(sleep 1000; true) & wait")
    be("worker")


def be_a_leaf() -> None:
    be("leaf")


def have_a_child() -> None:
    fork("grandchild")
    sleep()


def fork(name: str) -> None:
    if os.fork() == 0:
        be(name)


def execute(name: str, shell: str = f"exec sleep {LONG}") -> None:
    subprocess.Popen(["/bin/sh", "-c", f"echo {name} $$; {shell}"])


def have_a_segment() -> None:
    from multiprocessing import shared_memory

    segment = shared_memory.SharedMemory(create=True, size=100)
    os.write(1, f"/dev/shm/{segment._name} {os.getpid()}\n".encode())  # a name of a kind
    sleep()


def say_when_terminated(name: str) -> None:
    """Say the name, and say it again when SIGTERM comes."""

    def handle(_signal: int, _frame: object) -> None:
        say(f"{name}_heard_of_it")
        os._exit(0)

    signal.signal(signal.SIGTERM, handle)
    say(name)


def be_polite_workers() -> None:
    """Two processes that end in their own way."""
    if os.fork() == 0:
        say_when_terminated("child")
        doze()
    say_when_terminated("worker")
    doze()


def supervise() -> None:
    """Replaces a child that dies, unless asked to end."""
    is_ending = []
    fork("child")
    signal.signal(signal.SIGTERM, lambda *_: is_ending.append(True))
    say("worker")
    os.wait()
    if not is_ending:
        fork("replacement")


def respawn() -> None:
    """Ignores SIGTERM and replaces every child that dies, for ever."""
    signal.signal(signal.SIGTERM, lambda *_: None)
    say("worker")
    while True:
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            sleep()
        os.wait()


def storm() -> None:
    """Forks as fast as it can, at most a few hundred times."""
    say("worker")
    for _ in range(300):
        if os.fork() == 0:
            sleep()
    sleep()


def leave_an_orphan() -> None:
    """Has a grandchild whose parent has ended."""
    if os.fork() == 0:
        if os.fork() == 0:
            be("orphan")
        os._exit(0)
    os.wait()
    be("worker")


def start(method: str, name: str, work: str = "sleep", *, daemon: bool = True):
    process = procession.get_context(method).Process(target=be, args=(name, work), daemon=daemon)
    process.start()
    return process


# ---- scenes -----------------------------------------------------------------


def one_daemon(method: str, work: str = "sleep") -> None:
    start(method, "victim", work)


def from_a_thread(method: str) -> None:
    thread = threading.Thread(target=start, args=(method, "victim"))
    thread.start()
    thread.join()
    while len(os.listdir("/proc/self/task")) > 1:
        time.sleep(0.001)
    say("thread_has_ended")


def all_signals_blocked(method: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    start(method, "victim")


def a_worker(method: str) -> None:
    worker = procession.get_context(method).Process(target=be_a_worker, args=(method,))
    worker.dies_with_parent = True
    worker.start()


def others(method: str) -> None:
    """Whom the end of the main process does not concern."""
    start(method, "ordinary", daemon=False)
    start(method, "ordinary_with_child", "have_a_child", daemon=False)
    execute("executed")
    start(method, "victim")


def late(method: str) -> None:
    """A child that gets to its set-up only when its parent has been killed."""
    pidfd = os.pidfd_open(os.getpid())

    def wait_for_the_end() -> None:
        say("waiting")
        select.select([pidfd], [], [])

    os.register_at_fork(after_in_child=wait_for_the_end)
    start(method, "victim")


def tree(method: str, how: str, work: str = "be_a_worker") -> None:
    """A tree that ends when the test says so, and a process that is none of it."""
    start(method, "other", daemon=False)
    arguments = (method,) if work == "be_a_worker" else ()
    root = procession.get_context(method).Process(target=globals()[work], args=arguments)
    root.start()
    wait_for_test()
    getattr(root, how)(tree=True)
    root.join()
    say(f"exitcode:{root.exitcode}")


def tree_in_a_group(method: str, folder: str, work: str) -> None:
    """The same, `folder` being the main process's control group, and one below it the tree's."""
    for name, pid in (("", os.getpid()), ("tree", 0)):
        os.makedirs(f"{folder}/{name}", exist_ok=True)
        if pid:
            with open(f"{folder}/{name}/cgroup.procs", "w") as file:
                file.write(str(pid))
    start(method, "other", daemon=False)
    root = procession.get_context(method).Process(target=be_in_group, args=(f"{folder}/tree", work))
    root.start()
    wait_for_test()
    root.kill(tree=True)
    root.join()
    say(f"exitcode:{root.exitcode}")


def be_in_group(folder: str, work: str) -> None:
    with open(f"{folder}/cgroup.procs", "w") as file:
        file.write(str(os.getpid()))
    globals()[work]()


def interrupt(method: str) -> None:
    """A process that takes Ctrl-C in its own way."""
    process = start(method, "victim", "be_interrupted")
    wait_for_test()
    process.interrupt()
    process.join()
    say(f"exitcode:{process.exitcode}")


def be_interrupted() -> None:
    try:
        signal.signal(
            signal.SIGINT, signal.default_int_handler
        )  # what runs in the background inherits it ignored
        say("ready")
        doze()
    except KeyboardInterrupt:
        sys.exit(5)


def a_manager(method: str, name: str) -> None:
    """Its server has a pool, which has a worker."""
    from procession.managers import SyncManager

    manager = SyncManager("\0" + name, b"key", ctx=procession.get_context(method))
    manager.start(say, ("server",))
    kept.append(manager.Pool(1, say, ("worker",)))


kept: list[object] = []
"""What a scene has made and wants to have as long as it lives."""


def by_a_zygote(_method: str, work: str = "sleep") -> None:
    """Logical parents, and a process that forks in their place. Commands come from the parent that says `parent`."""
    from procession._launch import guard

    parent = os.getpid()
    sentinel = os.pidfd_open(parent)
    if os.fork() == 0:
        guard.be_zygote()
        guarded = os.fork()
        if guarded == 0:
            guard.die_with_parent(parent, sentinel)
            be("guarded", work)
        unguarded = os.fork()
        if unguarded == 0:
            be("unguarded")
        say("zygote")
        select.select([sentinel], [], [])
        guard.tell_orphan(guarded, parent)
        guard.tell_orphan(unguarded, parent)
        sleep()


if __name__ == "__main__":
    import procession

    method, scene, *arguments = sys.argv[1:]
    say("main")
    globals()[scene](method, *arguments)
    sleep()
else:
    with contextlib.suppress(ImportError):
        import procession
