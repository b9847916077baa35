"""Death after every instruction: whatever a process does to the arena, it may die anywhere in it.

For each operation a victim is killed at each of its points in turn (an instruction of the compiled module, or the end
of a system call), and the process that runs the test looks at what is left: the lock can be had, the counts are right,
and once the dead are swept the arena holds what it held before.
"""

import os
import pathlib
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import forkstops
import pytest
import stepping
from procession import _native

pytestmark = [pytest.mark.crash, pytest.mark.timeout(1800)]

PATIENCE = (
    5.0  # seconds for what must come within a few slices of 100 ms, on a machine that does other things too
)
REPORT = pathlib.Path(os.environ.get("PROCESSION_CRASH_REPORT", os.devnull))


@pytest.fixture(scope="module")
def stepper() -> Iterator[stepping.Stepper]:
    _native.ensure_arena()
    tool = stepping.Stepper(stepping.code_of(_native.__file__))
    yield tool
    tool.close()


@pytest.fixture
def stride(request: pytest.FixtureRequest) -> int:
    return request.config.getoption("--stride") or 16


class Arena:
    """What the arena holds, swept; equal before and after a death."""

    KEYS = ("objects", "pinned", "blocks", "spans", "garbage")

    def __init__(self) -> None:
        _native.sweep()
        report = _native.fsck()
        self.faults = list(report["inconsistent"]) + list(report["leaked"])
        self.held = {key: report[key] for key in self.KEYS}

    def must_be_as(self, before: "Arena", where: str) -> None:
        assert not self.faults, f"{where}: {self.faults}"
        assert self.held == before.held, f"{where}: the arena held {before.held}, now {self.held}"


class Campaign:
    """Kills one victim per point until a victim survives its act, checking after each."""

    def __init__(self, stepper: stepping.Stepper, stride: int, name: str) -> None:
        self.stepper, self.stride, self.name = stepper, stride, name

    def run(
        self,
        make_victim: Callable[[], int],
        *,
        check: Callable[[], None] = lambda: None,
        meanwhile: Callable[[], None] = lambda: None,
        clean_up: Callable[[int], None] = lambda _pid: None,
    ) -> None:
        """`meanwhile` runs while the victim is stepped; `check` when it is dead, `clean_up` last, with its pid."""
        before = Arena()
        deaths = steps = 0
        point = 1
        while True:
            victim = make_victim()
            self.stepper.begin(victim, point)
            meanwhile()
            ended = self.stepper.end()
            self._bury(victim, ended)
            where = f"{self.name}, killed at point {point}" if ended.killed else f"{self.name}, not killed"
            try:
                check()
            except AssertionError as error:
                raise AssertionError(f"{where}: {error}") from error
            finally:
                clean_up(victim)
            Arena().must_be_as(before, where)
            if not ended.killed:
                break
            deaths, steps, point = deaths + 1, steps + ended.steps, point + self.stride
        line = f"{self.name:<36} {ended.points:>6} points, {deaths:>6} deaths, {steps:>9} steps"
        print(line)
        with REPORT.open("a") as report:
            report.write(line + "\n")
        assert deaths, f"{self.name} has no point inside the module"

    def _bury(self, victim: int, ended: stepping.Ended) -> None:
        assert ended.how != "exited", f"{self.name}: the victim ended by itself"
        stepping.bury(victim)


def acquirable(lock: Any) -> None:
    assert lock.acquire(timeout=PATIENCE), "the lock was not to be had"
    lock.release()
    assert not lock.locked()


LOCKS = pytest.mark.parametrize("kind", [_native.Lock, _native.RLock], ids=["Lock", "RLock"])


@LOCKS
def test_acquire(stepper, stride, kind):
    lock = kind()
    Campaign(stepper, stride, f"{kind.__name__}.acquire").run(
        lambda: stepping.fork_victim(lambda: None, lambda _: lock.acquire()), check=lambda: acquirable(lock)
    )


@LOCKS
def test_release(stepper, stride, kind):
    lock = kind()
    Campaign(stepper, stride, f"{kind.__name__}.release").run(
        lambda: stepping.fork_victim(lock.acquire, lambda _: lock.release()), check=lambda: acquirable(lock)
    )


@LOCKS
def test_with(stepper, stride, kind):
    lock = kind()

    def enter_and_leave(_: Any) -> None:
        with lock:
            pass

    Campaign(stepper, stride, f"with {kind.__name__}").run(
        lambda: stepping.fork_victim(lambda: None, enter_and_leave), check=lambda: acquirable(lock)
    )


def test_rlock_nested(stepper, stride):
    lock = _native.RLock()

    def act(_: Any) -> None:
        lock.acquire()
        lock.acquire()
        lock.release()
        lock.release()

    Campaign(stepper, stride, "RLock, twice and back").run(
        lambda: stepping.fork_victim(lock.acquire, act), check=lambda: acquirable(lock)
    )


@LOCKS
def test_acquire_contended(stepper, stride, kind):
    """The holder lets go while the victim spins, parks or sleeps."""
    lock = kind()

    def make_victim() -> int:
        victim = stepping.fork_victim(lambda: None, lambda _: lock.acquire())
        lock.acquire()
        return victim

    def let_go() -> None:
        time.sleep(0.003)
        lock.release()

    Campaign(stepper, stride, f"{kind.__name__}.acquire, contended").run(
        make_victim, meanwhile=let_go, check=lambda: acquirable(lock)
    )


@LOCKS
def test_acquire_in_vain(stepper, stride, kind):
    """The victim dies waiting for a lock that is not let go."""
    lock = kind()

    def make_victim() -> int:
        victim = stepping.fork_victim(lambda: None, lambda _: lock.acquire(timeout=0.005))
        lock.acquire()
        return victim

    def check() -> None:
        lock.release()
        acquirable(lock)

    Campaign(stepper, stride, f"{kind.__name__}.acquire, timed out").run(make_victim, check=check)


@LOCKS
def test_release_with_a_waiter(stepper, stride, kind):
    """The holder dies while it hands over: the waiter must get the lock all the same."""
    lock = kind()
    waiters: list[int] = []

    def make_victim() -> int:
        victim = stepping.fork_victim(lock.acquire, lambda _: lock.release())
        waiter = os.fork()
        if waiter == 0:
            got = lock.acquire(timeout=PATIENCE)
            if got:
                lock.release()
            os._exit(not got)
        waiters.append(waiter)
        time.sleep(0.002)  # asleep by now, most times; awake or not, it must get the lock
        return victim

    def check() -> None:
        _, status = os.waitpid(waiters.pop(), 0)
        assert os.waitstatus_to_exitcode(status) == 0, "the waiter did not get the lock"
        acquirable(lock)

    Campaign(stepper, stride, f"{kind.__name__}.release, with a waiter").run(make_victim, check=check)


MAKERS: dict[str, Callable[[], Any]] = {
    "Lock": _native.Lock,
    "RLock": _native.RLock,
    "Value": lambda: _native.Value("q", 7),
    "Memory, a block": lambda: _native.Memory(1000),
    "Memory, a span": lambda: _native.Memory(60_000),
    "Memory, many spans": lambda: _native.Memory(1_000_000),
}
OBJECTS = pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)


@OBJECTS
def test_create_first(stepper, stride, maker, request):
    """A process's first object: a new span too."""
    Campaign(stepper, stride, f"create {request.node.callspec.id}, the first").run(
        lambda: stepping.fork_victim(lambda: None, lambda _: maker())
    )


@OBJECTS
def test_create_second(stepper, stride, maker, request):
    Campaign(stepper, stride, f"create {request.node.callspec.id}, the second").run(
        lambda: stepping.fork_victim(maker, lambda first: (first, maker()))
    )


@OBJECTS
def test_drop(stepper, stride, maker, request):
    """The last handle goes, in the process that made the object."""
    Campaign(stepper, stride, f"drop {request.node.callspec.id}").run(
        lambda: stepping.fork_victim(lambda: [maker()], lambda held: held.clear())
    )


@OBJECTS
def test_drop_inherited(stepper, stride, maker, request):
    """The last handle goes, in a child of the process that made the object."""
    held: list[Any] = []

    def make_victim() -> int:
        held.append(maker())
        victim = stepping.fork_victim(lambda: None, lambda _: held.clear())
        held.clear()
        return victim

    Campaign(stepper, stride, f"drop inherited {request.node.callspec.id}").run(make_victim)


def test_value_operations(stepper, stride):
    value = _native.Value("q", 0)
    totals: list[int] = [0]

    def check() -> None:
        # All or nothing: the addition happened if its store did.
        now = value.value
        assert now in (totals[-1], totals[-1] + 1), f"the value went from {totals[-1]} to {now}"
        totals.append(now)
        acquirable(value.get_lock())

    Campaign(stepper, stride, "Value.add").run(
        lambda: stepping.fork_victim(lambda: None, lambda _: value.add(1)), check=check
    )


def test_value_compare_exchange(stepper, stride):
    value = _native.Value("q", 0)

    def check() -> None:
        assert value.value in (0, 1)
        value.value = 0
        acquirable(value.get_lock())

    Campaign(stepper, stride, "Value.compare_exchange").run(
        lambda: stepping.fork_victim(lambda: None, lambda _: value.compare_exchange(0, 1)), check=check
    )


def test_open_and_drop_handle(stepper, stride):
    lock = _native.Lock()
    handle = lock._handle()
    Campaign(stepper, stride, "open a handle, and drop it").run(
        lambda: stepping.fork_victim(lambda: None, lambda _: (_native.Lock._open(handle), None)[1]),
        check=lambda: acquirable(lock),
    )


def test_leave(stepper, stride):
    """A clean exit: the process gives back what it holds, and dies in the middle of that."""
    lock = _native.Lock()
    Campaign(stepper, stride, "leave, holding objects").run(
        lambda: stepping.fork_victim(
            lambda: [_native.Lock(), _native.Memory(1000)], lambda _: _native.leave()
        ),
        check=lambda: acquirable(lock),
    )


def test_sweep(stepper, stride):
    """The sweeper dies while it clears away what another death left."""
    lock = _native.Lock()

    def make_victim() -> int:
        victim = stepping.fork_victim(lambda: None, lambda _: _native.sweep())
        dead = stepping.fork_victim(
            lambda: (lock.acquire(), _native.Lock(), _native.Memory(1000)), lambda _: None
        )
        stepping.bury(dead)
        return victim

    Campaign(stepper, stride, "sweep").run(make_victim, check=lambda: acquirable(lock))


def test_take_over(stepper, stride):
    """The second death: of who takes a dead owner's lock over."""
    lock = _native.Lock()

    def make_victim() -> int:
        victim = stepping.fork_victim(lambda: None, lambda _: lock.acquire())
        stepping.bury(stepping.fork_victim(lock.acquire, lambda _: None))
        return victim

    Campaign(stepper, stride, "take a dead owner's Lock over").run(
        make_victim, check=lambda: acquirable(lock)
    )


def test_fork_in_parent(stepper, stride):
    """os.fork() itself, in the parent: before and after. The child, if there is one by then, ends at once."""
    lock = _native.Lock()

    def act(_: Any) -> None:
        if os.fork() == 0:
            os._exit(0)

    def clean_up(_victim: int) -> None:
        reap_orphans()

    with stepping.subreaper():
        Campaign(stepper, max(stride, 4), "fork, in the parent").run(
            lambda: stepping.fork_victim(lambda: _native.Lock(), act),
            check=lambda: (reap_orphans(), acquirable(lock)) and None,
            clean_up=clean_up,
        )


def test_fork_in_child(stepper, stride):
    """A forked child attaches: it dies in its after-fork handlers, while its parent lives on."""
    lock = _native.Lock()
    mothers: list[int] = []

    def make_victim() -> int:
        told, tell = os.pipe()
        mother = os.fork()
        if mother == 0:
            kept = _native.Lock()
            forkstops.stop_children(tell)
            if os.fork() == 0:
                stepping.stop_self()
                os._exit(0)
            os.wait()
            ok = kept.acquire(timeout=PATIENCE)
            os._exit(not ok)
        mothers.append(mother)
        os.close(tell)
        victim = int(os.read(told, 32))
        os.close(told)
        return victim

    class OfAnother(Campaign):
        def _bury(self, victim: int, ended: stepping.Ended) -> None:
            assert ended.how != "exited", "the child ended by itself"
            if not ended.killed:
                os.kill(victim, signal.SIGKILL)

    def check() -> None:
        _, status = os.waitpid(mothers.pop(), 0)
        assert os.waitstatus_to_exitcode(status) == 0, "the parent of the dead child could not go on"
        acquirable(lock)

    OfAnother(stepper, max(stride, 4), "fork, in the child").run(make_victim, check=check)


def test_attach_after_a_bare_fork(stepper, stride):
    """A child by fork(2), behind Python's back, attaches at its first use of the arena."""
    lock = _native.Lock()
    Campaign(stepper, stride, "attach after a bare fork").run(
        lambda: stepping.fork_victim_raw(lambda _: lock.acquire()), check=lambda: acquirable(lock)
    )


def test_attach_by_descriptor(stepper, stride, tmp_path):
    """A process that never saw the arena maps it from its descriptor."""
    lock = _native.Lock()
    nursery = Nursery(_native.arena_fd(), tmp_path)
    try:
        campaign = Campaign(nursery.stepping(stepper), stride, "attach by descriptor")
        campaign._bury = lambda victim, ended: nursery.bury(victim)  # type: ignore[method-assign]
        campaign.run(nursery.make_victim, check=lambda: acquirable(lock))
    finally:
        nursery.close()


class Nursery:
    """A warm interpreter that has the module but no arena, and forks victims that attach."""

    CODE = """
import os, sys
sys.path[:0] = {path!r}
import stepping
from procession import _native
fd = int(sys.argv[1])
print(stepping.code_of(_native.__file__), flush=True)
for line in sys.stdin:
    if line == "victim\\n":
        print(stepping.fork_victim(lambda: None, lambda _: _native.attach(fd)), flush=True)
    else:
        stepping.bury(int(line))
        print("buried", flush=True)
"""

    def __init__(self, fd: int, folder: pathlib.Path) -> None:
        import subprocess
        import sys

        script = folder / "nursery.py"
        script.write_text(self.CODE.format(path=sys.path))
        self.process = subprocess.Popen(
            [sys.executable, script, str(fd)],
            pass_fds=[fd],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.code = self._line()

    def stepping(self, tool: stepping.Stepper) -> Any:
        class InNursery:
            begin = staticmethod(lambda victim, point: tool.begin(victim, point, code=self.code))
            end = staticmethod(tool.end)

        return InNursery

    def make_victim(self) -> int:
        return int(self._ask("victim"))

    def bury(self, victim: int) -> None:
        self._ask(str(victim))

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def _ask(self, line: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, "the nursery has died"
        return line


def reap_orphans() -> None:
    """Wait for the grandchildren that a dead victim left to this process."""
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            if only_the_tool_is_left():
                return
            time.sleep(0.001)


def only_the_tool_is_left() -> bool:
    pids = pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return all("procession-step" in pathlib.Path("/proc", pid, "cmdline").read_text() for pid in pids)
