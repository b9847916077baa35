"""How much to give whom: pure figures, no process.

A worker is kept busy for some milliseconds ahead, so that neither it nor the pool waits for
the other at each task. What was given too much is taken back by whoever has nothing left.
Of what is large it has a few before it: memory that was used just now is used again.
"""

AHEAD = 0.005
"""Seconds of work that a worker should have before it."""
MOST = 8192
"""Tasks that a worker has before it at most."""
WARM = 4 << 20
"""Bytes that its tasks, or their results, lie in at most, but for two of them."""
HANDFUL = 1 << 20
"""Bytes that are given to it at once, but for one task."""
FEW = 8
"""Tasks that are so few that who gives them waits for each result."""


class Pace:
    """How long the tasks of one worker take, as far as it has noted, or its answers tell."""

    __slots__ = ("_given", "_got", "_noted", "_seconds")

    def __init__(self) -> None:
        self._seconds: float | None = None
        self._noted = (0, 0)
        self._given = self._got = 0
        """Bytes of memory that a task took lately, and a result."""

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

    def weigh_given(self, nbytes: int, tasks: int) -> None:
        """So many bytes of memory were taken for so many tasks."""
        self._given = nbytes // tasks

    def weigh_results(self, nbytes: int) -> None:
        """The largest of the results that came just now lay in so many bytes of memory."""
        self._got = nbytes

    @property
    def is_heavy(self) -> bool:
        """Whether the worker should have but a few tasks before it because of what they weigh."""
        return max(self._given, self._got) * FEW > WARM

    def together(self) -> int:
        """How many tasks the worker should be given at once."""
        return max(1, HANDFUL // self._given) if self._given else MOST

    def ahead(self) -> int:
        """How many tasks the worker should have before it."""
        if self._seconds is None:
            return 1
        ahead = max(1, min(MOST, int(AHEAD / max(self._seconds, 1e-9))))
        weight = max(self._given, self._got)
        return min(ahead, max(2, WARM // weight)) if weight else ahead


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
