"""Death after every instruction: whatever a process does to the arena, it may die anywhere in it.

For each operation a first victim is stepped through it, which gives its places: each instruction of the compiled module
and each return of a system call. Then a victim each is killed at these places (at the first three arrivals, the last,
and ever more rarely in between where there is a loop), and the process that runs the test looks at what is left: the
lock can be had, the counts are right, and once the dead are swept the arena holds what it held before.
"""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import forkstops
import pytest
import stepping

from procession import _native

pytestmark = [
    pytest.mark.crash,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore:process .* died holding"),
]

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
    return request.config.getoption("--stride") or 64


class Arena:
    """What the arena holds, swept; equal before and after a death."""

    KEYS = ("objects", "pinned", "blocks", "spans", "garbage")

    def __init__(self) -> None:
        _native.sweep()
        report = _native.fsck()
        self.faults = list(report["inconsistent"]) + list(report["leaked"])
        self.held = {key: report[key] for key in self.KEYS}

    def must_be_as(self, before: "Arena") -> None:
        assert not self.faults, self.faults
        assert self.held == before.held, f"the arena held {before.held}, now {self.held}"


class Campaign:
    """Kills one victim per place, checking after each."""

    def __init__(self, stepper: stepping.Stepper, stride: int, name: str) -> None:
        self.stepper, self.stride, self.name = stepper, stride, name
        self.code: str | None = None  # of the victims, where it is not at the stepper's
        self.bury: Callable[[int], Any] = stepping.bury
        self.made = self.deaths = self.survived = 0

    def run(
        self,
        make_victim: Callable[[], int],
        *,
        check: Callable[[], None] = lambda: None,
        meanwhile: Callable[[int], None] = lambda _pid: None,
    ) -> None:
        """`meanwhile` runs while the victim does; `check` when it is dead."""
        self._warm_up(make_victim, meanwhile, check)
        before = Arena()
        victim = make_victim()
        self.stepper.begin_trace(victim, self.code)
        meanwhile(victim)
        trace = self.stepper.end_trace()
        self._look(victim, "not killed", check, before)
        for place in trace.plan(self.stride):
            victim = make_victim()
            self.stepper.begin_kill(victim, place)
            meanwhile(victim)
            ended = self.stepper.end()
            self._count(ended)
            self._look(victim, f"killed at {self._name(place)}", check, before)
        self.report(f"{len(trace.arrivals):>6} places, {trace.points:>7} points")

    def _warm_up(
        self, make_victim: Callable[[], int], meanwhile: Callable[[int], None], check: Callable[[], None]
    ) -> None:
        """One victim lives: what an act makes for good (an extent of the arena) is then there for all that follow."""
        victim = make_victim()
        never = stepping.Place((self.code or self.stepper.code).partition("-")[0], 1)
        self.stepper.begin_kill(victim, never)
        meanwhile(victim)
        self.stepper.end()
        self.bury(victim)
        check()

    def run_by_steps(
        self, make_victim: Callable[[], int], *, check: Callable[[], None] = lambda: None
    ) -> None:
        """For acts that fork: every `stride`-th point, each reached step by step."""
        before = Arena()
        point = 1
        while True:
            victim = make_victim()
            self.stepper.begin_step(victim, point)
            ended = self.stepper.end()
            self._look(victim, f"killed at point {point}" if ended.killed else "not killed", check, before)
            if not ended.killed:
                break
            self._count(ended)
            point += self.stride
        self.report(f"{ended.points:>6} points, by steps  ")

    def _count(self, ended: stepping.Ended) -> None:
        assert ended.how != "exited", f"{self.name}: the victim ended by itself"
        self.deaths += ended.killed
        self.survived += not ended.killed

    def _look(self, victim: int, how: str, check: Callable[[], None], before: Arena) -> None:
        try:
            self.bury(victim)
            check()
            Arena().must_be_as(before)
        except AssertionError as error:
            raise AssertionError(f"{self.name}, {how}: {error}") from error

    def _name(self, place: stepping.Place) -> str:
        start = int((self.code or self.stepper.code).partition("-")[0], 16)
        return f"code+{int(place.address, 16) - start:#x}, arrival {place.occurrence}"

    def report(self, found: str) -> None:
        # A race with another process can spare a victim: what it was to die in did not happen this time.
        line = f"{self.name:<36} {found}, {self.deaths:>5} deaths, {self.survived:>3} spared"
        print(line)
        with REPORT.open("a") as report:
            report.write(line + "\n")
        assert self.deaths > self.survived, f"{self.name}: more spared than killed"


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

    def let_go(victim: int) -> None:
        give_up = time.monotonic() + PATIENCE
        while not stepping.is_asleep(victim) and time.monotonic() < give_up:
            time.sleep(0.0005)
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
            status = 70
            try:
                if lock.acquire(timeout=PATIENCE):
                    lock.release()
                    status = 0
            finally:
                os._exit(status)
        waiters.append(waiter)
        while not stepping.is_asleep(waiter):
            time.sleep(0.0002)
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
    "Memory, many spans": lambda: _native.Memory(300_000),
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

    def check() -> None:
        reap_orphans()
        acquirable(lock)

    with stepping.subreaper():
        Campaign(stepper, stride, "fork, in the parent").run_by_steps(
            lambda: stepping.fork_victim(_native.Lock, act), check=check
        )


def test_fork_in_child(stepper, stride):
    """A forked child attaches: it dies in its after-fork handlers, while its parent lives on."""
    lock = _native.Lock()
    mothers: list[int] = []

    def make_victim() -> int:
        told, tell = os.pipe()
        mother = os.fork()
        if mother == 0:
            mother_of_a_victim(tell)
        mothers.append(mother)
        os.close(tell)
        victim = int(os.read(told, 32))
        os.close(told)
        while not is_stopped(victim):
            time.sleep(0.0002)
        return victim

    def check() -> None:
        _, status = os.waitpid(mothers.pop(), 0)
        assert os.waitstatus_to_exitcode(status) == 0, "the parent of the dead child could not go on"
        acquirable(lock)

    campaign = Campaign(stepper, stride, "fork, in the child")
    campaign.bury = kill_if_there  # its mother reaps it
    campaign.run(make_victim, check=check)


def mother_of_a_victim(tell: int) -> None:
    status = 1
    try:
        kept = _native.Lock()
        forkstops.stop_children(tell)
        if os.fork() == 0:
            stepping.stop_self()
            os._exit(0)
        os.wait()
        status = int(not kept.acquire(timeout=PATIENCE))
    finally:
        os._exit(status)


def is_stopped(pid: int) -> bool:
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"


def kill_if_there(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


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
        campaign = Campaign(stepper, stride, "attach by descriptor")
        campaign.code, campaign.bury = nursery.code, nursery.bury
        campaign.run(nursery.make_victim, check=lambda: acquirable(lock))
    finally:
        nursery.close()


GROWING = {
    name: maker for name, maker in MAKERS.items() if name in ("Lock", "Memory, a span", "Memory, many spans")
}


@pytest.mark.parametrize("name", ["arena", *GROWING])
def test_in_a_new_arena(stepper, stride, tmp_path, name):
    """The first objects of all: the arena itself, and its first extents. Each victim has an arena to itself."""
    nursery = Nursery(None, tmp_path)
    try:
        campaign = Campaign(stepper, stride, f"create {name}, in a new arena")
        campaign.code, campaign.bury = nursery.code, nursery.bury
        campaign.run(lambda: nursery.make_victim_in_new_arena(name))
    finally:
        nursery.close()


class Nursery:
    """A warm interpreter that has the module but no arena, and forks victims from that state."""

    CODE = """
import os, sys
sys.path[:0] = {path!r}
import stepping
from procession import _native

GROWING = {{
    "Lock": _native.Lock,
    "Memory, a span": lambda: _native.Memory(60_000),
    "Memory, many spans": lambda: _native.Memory(300_000),
}}

def attach(fd):
    return stepping.fork_victim(lambda: None, lambda _: _native.attach(fd))

def make_arena():
    return stepping.fork_victim(lambda: None, lambda _: _native.ensure_arena())

def mother(name):
    # A process of its own makes an arena, has a victim in it, and says when that is dead whether all is well.
    (asked, ask), (told, tell) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            _native.ensure_arena()
            victim = stepping.fork_victim(lambda: None, lambda _: GROWING[name]())
            os.write(tell, b"%d" % victim)
            os.close(ask)
            os.read(asked, 1)
            stepping.bury(victim)
            _native.sweep()
            report = _native.fsck()
            assert not report["inconsistent"], report
            assert not report["leaked"], report
            assert not report["objects"] and not report["garbage"], report
            kept = [GROWING[name]() for _ in range(3)]
            status = 0
        finally:
            sys.excepthook(*sys.exc_info()) if sys.exc_info()[0] else None
            os._exit(status)
    os.close(asked), os.close(tell)
    victim = int(os.read(told, 32))
    os.close(told)
    return victim, pid, ask

mothers = {{}}
print(stepping.code_of(_native.__file__), flush=True)
for line in sys.stdin:
    verb, _, rest = line.strip().partition(" ")
    if verb == "attach":
        print(attach(int(rest)), flush=True)
    elif verb == "make":
        if rest == "arena":
            print(make_arena(), flush=True)
        else:
            victim, pid, ask = mother(rest)
            mothers[victim] = pid, ask
            print(victim, flush=True)
    elif int(rest) in mothers:
        pid, ask = mothers.pop(int(rest))
        os.write(ask, b"?")
        os.close(ask)
        print("ok" if os.waitpid(pid, 0)[1] == 0 else "failed", flush=True)
    else:
        stepping.bury(int(rest))
        print("ok", flush=True)
"""

    def __init__(self, fd: int | None, folder: pathlib.Path) -> None:
        self.fd = fd
        script = folder / "nursery.py"
        script.write_text(self.CODE.format(path=sys.path))
        pass_fds = [] if fd is None else [fd]
        self.process = subprocess.Popen(
            [sys.executable, script],
            pass_fds=pass_fds,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.code = self._line()

    def make_victim(self) -> int:
        return int(self._ask(f"attach {self.fd}"))

    def make_victim_in_new_arena(self, name: str) -> int:
        return int(self._ask(f"make {name}"))

    def bury(self, victim: int) -> None:
        assert self._ask(f"bury {victim}") == "ok", "what the victim left is not in order"

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
