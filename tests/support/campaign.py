"""Victims killed at every place of an act, and what must hold after each death.

For each operation a first victim is stepped through it, which gives its places: each instruction of the compiled module
and each return of a system call. Then a victim each is killed at these places (at the first three arrivals, the last,
and ever more rarely in between where there is a loop), and the process that runs the test looks at what is left: it can
go on, the counts are right, and once the dead are swept the arena holds what it held before.
"""

import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import stepping

from procession import _native

PATIENCE = (
    5.0  # seconds for what must come within a few slices of 100 ms, on a machine that does other things too
)
REPORT = pathlib.Path(os.environ.get("PROCESSION_CRASH_REPORT", os.devnull))


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
        # An empty span that was kept may have been given back meanwhile.
        held = {**self.held, "spans": max(self.held["spans"], before.held["spans"])}
        assert held == before.held, f"the arena held {before.held}, now {self.held}"


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
    # Perhaps not at once: a waiter who was notified takes it for a moment.
    until(lambda: not lock.locked(), "the lock stays held")


class Bystander:
    """A child that does one thing and says by its exit status how that went; 70 is an exception."""

    def __init__(self, act: Callable[[], int]) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            status = 70
            try:
                status = act()
            finally:
                os._exit(status)

    def is_asleep(self) -> bool:
        return stepping.is_asleep(self.pid)

    def sleeps(self) -> "Bystander":
        """Itself, once it waits in the kernel."""
        until(self.is_asleep, "the bystander does not go to sleep")
        return self

    def ended(self) -> int:
        """How it ended, which it must do by itself."""
        until(lambda: stepping.is_dead(self.pid), "the bystander hangs")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def until(condition: Callable[[], Any], failing: str) -> None:
    give_up = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > give_up:
            raise AssertionError(failing)
        time.sleep(0.0002)
