"""A hand: one worker process as its pool sees it."""

import os
import signal
from contextlib import suppress
from time import monotonic
from typing import Any

from procession._work.desk import INBOX, OUTBOX, Desk
from procession._work.last_words import LastWords
from procession._work.outcome import with_cause
from procession._work.pace import Pace
from procession._work.post_mortem import is_stopped
from procession._work.segments import MASK, Ledger
from procession._work.worker import STACK_SIGNAL, STOP

GRACE = 1.0
"""Seconds that a task has to end after SIGINT, before its worker is killed."""
OFTEN = 0.05
"""Seconds between two looks at what announces itself by nothing: memory, a stack, a task that has not begun."""


PATIENCE = 5.0
"""Seconds that a worker has to end after SIGTERM, before it is killed."""
LONGEST = 1 << 16
"""Characters of a stack."""


class Interruption:
    """A running task is to end: why, and when patience ends."""

    __slots__ = ("error", "kill_at", "number", "stack", "stack_until")

    def __init__(self, number: int, error: BaseException, kill_at: float) -> None:
        self.number, self.error, self.kill_at = number, error, kill_at
        self.stack = ""
        """Where it was when patience ended, as far as it has told."""
        self.stack_until: float | None = None
        """Until when it may tell; None: it has not been asked."""


class Hand:
    """A worker: its process, its desk, and what it has been given."""

    def __init__(self, chunks: int | None, memory_limit: int | None) -> None:
        self.desk = Desk(INBOX, OUTBOX)
        self.nonce = self.desk._handle()[0]
        """Which arena it shares with the pool."""
        self.words = LastWords()
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
        self.packing = 0.0
        """Seconds that it took to make the message that it has, or the longest of them."""
        self._is_told_to_stop = False
        self._began: tuple[int | None, float] = (None, 0.0)
        """A task that it was seen to run, and since when."""
        self.measured_at = 0.0
        """When its memory was last looked at."""
        self.memory_limit = memory_limit
        """Bytes of memory that it may have at its task, or after the last one; None: any number."""
        self.stack_fd: int | None = None
        """Its descriptor of the file into which it writes its threads' stacks when it is asked; see `worker.py`."""
        self.stopped, self.looked_at = 0.0, 0.0
        """Seconds for which it was seen stopped with a task before it, and when it was last looked at for that."""
        self.was_killed, self.killed_for = False, ""
        """Whether the pool itself has killed it, and why."""

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

    def began(self, number: int, now: float) -> float:
        """Since when it has run that task: as it has noted, or else as has been seen.

        It notes the first task of a message, and those that begin when the pool may be asleep.
        """
        if self._began[0] != number:
            self._began = number, now - (self.desk.begun_ago(number) or 0) / 1000
        return self._began[1]

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

    def insist(self, now: float) -> float:
        """The interrupted task goes on: ask for the stack when its grace is over, then kill; when to look again."""
        interruption = self.interruption
        assert interruption is not None  # noqa: S101
        if now < interruption.kill_at:
            return interruption.kill_at
        if interruption.stack_until is None and self.stack_fd is not None:
            interruption.stack_until = now + GRACE
            self._signal(STACK_SIGNAL)
            return now + OFTEN / 10
        if interruption.stack_until is not None and now < interruption.stack_until:
            told, interruption.stack = interruption.stack, self._stack()
            if not told or told != interruption.stack:  # it may be in the middle of it
                return now + OFTEN / 10
        if interruption.stack:
            with_cause(interruption.error, f'\n"""\n{interruption.stack}"""')
        interruption.stack_until = None
        self.kill()
        interruption.kill_at = now + PATIENCE
        return interruption.kill_at

    def _stack(self) -> str:
        try:
            path = f"/proc/{self.process.pid}/fd/{self.stack_fd}"
            with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
                return file.read(LONGEST)
        except OSError:
            return ""

    def has_been_stopped(self, now: float) -> float:
        """Seconds for which it was seen stopped; 0 when it is not. To be asked often: what nobody saw does not count."""
        since = min(now - self.looked_at, 2 * OFTEN)
        self.looked_at = now
        self.stopped = self.stopped + since if is_stopped(self.process.pid) else 0.0
        return self.stopped

    def calm(self) -> Interruption | None:
        """The task that was to end has ended: no signal is meant for another."""
        interruption, self.interruption = self.interruption, None
        if interruption is not None:
            self.desk.target = None
        return interruption

    def kill(self) -> None:
        """End it, with all that it has started."""
        self.was_killed = True
        try:
            self.process.kill(tree=True)
        except (TypeError, OSError):  # a process of the standard library's, or no /proc
            self.process.kill()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, number)  # not collected yet: the pid is still its own
