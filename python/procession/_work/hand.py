"""A hand: one worker process as its pool sees it."""

import os
import signal
from contextlib import suppress
from time import monotonic
from typing import Any

from procession._work.desk import INBOX, OUTBOX, Desk
from procession._work.pace import Pace
from procession._work.segments import MASK, Ledger
from procession._work.worker import STOP

GRACE = 1.0
"""Seconds that a task has to end after SIGINT, before its worker is killed."""


class Interruption:
    """A running task is to end: why, and when patience ends."""

    __slots__ = ("error", "kill_at", "number")

    def __init__(self, number: int, error: BaseException, kill_at: float) -> None:
        self.number, self.error, self.kill_at = number, error, kill_at


class Hand:
    """A worker: its process, its desk, and what it has been given."""

    def __init__(self, chunks: int | None) -> None:
        self.desk = Desk(INBOX, OUTBOX)
        self.process: Any = None
        self.ledger = Ledger()
        self.pace = Pace()
        self.chunks = chunks
        """How many chunks it may still be given; None: any number."""
        self.is_ready = False
        self.is_retiring = False
        self.interruption: Interruption | None = None
        self.since = monotonic()
        """Since when it has been at what it does now, as far as its answers tell."""
        self._is_told_to_stop = False
        self.peak_memory: int | None = None
        self.measured_at = 0.0
        """When its memory was last looked at."""
        self.killed_for = ""
        """Why the pool itself has killed it."""

    def __repr__(self) -> str:
        return f"<Hand {self.process and self.process.pid} with {self.ledger.count} tasks>"

    @property
    def is_idle(self) -> bool:
        """Whether it waits for tasks."""
        return not self.ledger.count and not self.is_retiring

    def unbegun(self) -> int:
        """How many of its tasks can still be given to others."""
        begun, limit = self.desk.claims()
        return (limit - begun) & MASK

    def running(self) -> int | None:
        """The number of the task that it runs, if it is the next to be answered."""
        entry = self.ledger.first()
        if entry is None:
            return None
        begun, _ = self.desk.claims()
        return entry[0] if (begun - entry[0]) & MASK == 1 else None

    def retire(self) -> None:
        """It is to leave when it has done what it was given; say so as soon as there is room."""
        self.is_retiring = True
        if not self._is_told_to_stop:
            self._is_told_to_stop = self.desk.post(0, STOP) is not None

    def interrupt(self, number: int, error: BaseException) -> None:
        """End the running task: by SIGINT, which is the task's alone, and after a while by killing the worker."""
        self.interruption = Interruption(number, error, monotonic() + GRACE)
        self.desk.target = number
        self._signal(signal.SIGINT)

    def calm(self) -> Interruption | None:
        """The task that was to end has ended: no signal is meant for another."""
        interruption, self.interruption = self.interruption, None
        if interruption is not None:
            self.desk.target = None
        return interruption

    def kill(self) -> None:
        """End it, with all that it has started."""
        try:
            self.process.kill(tree=True)
        except (TypeError, OSError):  # a process of the standard library's, or no /proc
            self.process.kill()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, number)  # not collected yet: the pid is still its own
