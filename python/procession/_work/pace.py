"""How much to give whom: pure figures, no process.

A worker is kept busy for some milliseconds ahead, so that neither it nor the pool waits for
the other at each task. What was given too much is taken back by whoever has nothing left.
"""

AHEAD = 0.005
"""Seconds of work that a worker should have before it."""
MOST = 8192
"""Tasks that a worker has before it at most."""


class Pace:
    """How long the tasks of one worker take, as far as it has noted, or its answers tell."""

    __slots__ = ("_noted", "_seconds")

    def __init__(self) -> None:
        self._seconds: float | None = None
        self._noted = (0, 0)

    @property
    def seconds(self) -> float | None:
        """Of one task; None before the first answer."""
        return self._seconds

    def note(self, spent: tuple[int, int]) -> bool:
        """What the worker has noted by now, in nanoseconds and tasks; whether that is news."""
        nanoseconds, tasks = spent[0] - self._noted[0], spent[1] - self._noted[1]
        if tasks <= 0:
            return False
        self._noted = spent
        self._seconds = nanoseconds / 1e9 / tasks
        return True

    def learn(self, seconds: float, tasks: int) -> None:
        """So many tasks took so many seconds, or less: the worker may have waited, or others may have run meanwhile."""
        sample = seconds / tasks
        if self._seconds is None or (seconds > AHEAD and sample > self._seconds):
            self._seconds = sample  # slow at once: who has too much keeps others waiting

    def ahead(self) -> int:
        """How many tasks the worker should have before it."""
        if self._seconds is None:
            return 1
        return max(1, min(MOST, int(AHEAD / max(self._seconds, 1e-9))))


def portion(ahead: int, has: int, backlog: int, workers: int) -> int:
    """How many tasks a worker gets that `has` some, when it should have `ahead` and so many wait for all."""
    if has and has * 2 > ahead:
        return 0
    share = -(-backlog // max(workers, 1))
    return max(1, min(ahead - has, share)) if backlog and ahead > has else 0


def chunksize(items: int, workers: int) -> int:
    """The standard library's rule for `map` without a chunk size."""
    size, rest = divmod(items, workers * 4)
    return size + bool(rest)
