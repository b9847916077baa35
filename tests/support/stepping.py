"""Victims that die after an exact number of instructions inside a shared library.

A victim is a fork of the process that runs the test. It prepares, stops itself, acts, and stops itself again; the tool
`procession-step` kills it in between, at a point that the test chooses. What the death left behind is then looked at by
the test's own process, which shares the arena.
"""

import contextlib
import ctypes
import os
import pathlib
import signal
import subprocess
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

ROOT = pathlib.Path(__file__).parents[2]


def code_of(library: str, pid: int | str = "self") -> str:
    """Where a process has a library's code, as the tool wants it: `START-END`."""
    ranges = []
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, access, *_, path = line.split()
        if "x" in access and path == library:
            ranges.append([int(end, 16) for end in span.split("-")])
    if not ranges:
        raise LookupError(f"process {pid} has no code of {library}")
    return f"{min(start for start, _ in ranges):x}-{max(end for _, end in ranges):x}"


class Place(NamedTuple):
    """An instruction of the library, or where a system call returned; and the how-many-eth arrival there is meant."""

    address: str
    occurrence: int


class Ended(NamedTuple):
    """How a victim's run ended: killed at its place, ended (its act was over first) or exited."""

    how: str
    points: int
    steps: int

    @property
    def killed(self) -> bool:
        return self.how == "killed"


class Trace(NamedTuple):
    """A whole act, stepped through: how often it came to each place, in the order of first arrival."""

    points: int
    steps: int
    arrivals: dict[str, int]

    def plan(self, stride: int) -> list[Place]:
        """Where to kill: each place at its first three arrivals, its last, and ever more rarely in between."""
        places = []
        for address, arrivals in self.arrivals.items():
            wanted = {1, 2, 3, arrivals} | {2**power for power in range(2, 40)}
            places += [Place(address, n) for n in sorted(wanted) if n <= arrivals]
        return places[::stride]


class Stepper:
    """The tool, running; one for a whole test run."""

    def __init__(self, code: str) -> None:
        self.code = code
        self._process = subprocess.Popen(
            [build_tool()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def begin_trace(self, victim: int, code: str | None = None) -> None:
        self._order(f"trace {victim} {code or self.code}")

    def begin_kill(self, victim: int, place: Place) -> None:
        self._order(f"kill {victim} {place.address} {place.occurrence}")

    def begin_step(self, victim: int, point: int) -> None:
        """Without breakpoints, for acts that fork: a breakpoint would be in the child too."""
        self._order(f"step {victim} {point} {self.code}")

    def end(self) -> Ended:
        how, *numbers = self._answer()
        return Ended(how, *map(int, numbers))

    def end_trace(self) -> Trace:
        how, points, steps, *places = self._answer()
        if how != "traced":
            raise RuntimeError(f"the victim to be traced {how}")
        arrivals = (place.split(":") for place in places)
        return Trace(int(points), int(steps), {address: int(times) for address, times in arrivals})

    def _order(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _answer(self) -> list[str]:
        assert self._process.stdout is not None
        words = self._process.stdout.readline().split() or ["error", "it has died"]
        if words[0] == "error":
            raise RuntimeError(f"procession-step: {' '.join(words[1:])}")
        return words

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def build_tool() -> pathlib.Path:
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    command = [
        "cargo",
        "build",
        "--quiet",
        "--release",
        "--package",
        "procession-step",
        "--target-dir",
        str(target),
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    return target / "release" / "procession-step"


def is_asleep(pid: int) -> bool:
    """Whether a process waits in futex(2), or lives no more."""
    try:
        return "futex" in pathlib.Path(f"/proc/{pid}/wchan").read_text() or is_dead(pid)
    except OSError:
        return True


def is_dead(pid: int) -> bool:
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"


def stop_self() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def fork_victim(prepare: Callable[[], Any], act: Callable[[Any], Any]) -> int:
    """A child that has prepared and stopped; continued it acts, and stops again."""
    pid = os.fork()
    if pid == 0:
        _live_as_victim(prepare, act)
    wait_stopped(pid)
    return pid


def fork_victim_raw(act: Callable[[Any], Any]) -> int:
    """The same by a bare fork(2), of which neither Python nor the library is told beforehand."""
    libc = ctypes.PyDLL(None)
    pid: int = libc.fork()
    if pid == 0:
        _live_as_victim(lambda: None, act)
    wait_stopped(pid)
    return pid


def _live_as_victim(prepare: Callable[[], Any], act: Callable[[Any], Any]) -> None:
    try:
        prepared = prepare()
        stop_self()
        kept = act(prepared)
        stop_self()
        del kept
    except BaseException:
        traceback.print_exc()
        os._exit(70)
    os._exit(0)


def wait_stopped(pid: int) -> None:
    _, status = os.waitpid(pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        raise RuntimeError(f"victim {pid} ended before it was to die: {os.waitstatus_to_exitcode(status)}")


def bury(pid: int) -> int:
    """Kill what still lives of a child, and reap it; how it ended, as subprocess's returncode says it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    while True:
        _, status = os.waitpid(pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            return os.waitstatus_to_exitcode(status)


PR_SET_CHILD_SUBREAPER = 36


@contextlib.contextmanager
def subreaper() -> Iterator[None]:
    """Orphaned grandchildren become this process's children, so that it can wait for them."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
