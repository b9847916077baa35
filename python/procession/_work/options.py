"""What a caller can ask for besides the standard library's arguments.

Plain classes: `dataclasses` brings `inspect`, `ast` and `dis`, whose pages a forked worker copies the tables of.
"""

from collections.abc import Callable
from operator import index
from typing import Any, Literal

OnWorkerDeath = Literal["raise", "retry", "skip"]
Progress = bool | Callable[[int, int | None], object]

LONGEST = 1e9
"""Seconds of a time limit that is none: thirty years."""

DEATHS = 3
"""How often a task is run again after its worker died, with `on_worker_death="retry"` and no `retries`."""


class Options:
    """How tasks are to be treated; `pool.options(...)` gives a pool with others. Nobody changes one."""

    __slots__ = ("buffersize", "memory_limit", "on_worker_death", "progress", "retries", "timeout")

    def __init__(
        self,
        *,
        timeout: float | None = None,
        retries: int = 0,
        on_worker_death: OnWorkerDeath = "raise",
        buffersize: int | None = None,
        progress: Progress | None = None,
        memory_limit: int | None = None,
    ) -> None:
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout must be positive, not {timeout!r}")
        if timeout is not None and timeout > LONGEST:
            timeout = None
        retries = index(retries)
        if retries < 0:
            raise ValueError(f"retries must be 0 or more, not {retries!r}")
        if on_worker_death not in ("raise", "retry", "skip"):
            raise ValueError(f"on_worker_death must be 'raise', 'retry' or 'skip', not {on_worker_death!r}")
        if buffersize is not None and index(buffersize) < 1:
            raise ValueError(f"buffersize must be positive, not {buffersize!r}")
        check_memory_limit(memory_limit)
        self.timeout, self.retries, self.on_worker_death = timeout, retries, on_worker_death
        self.buffersize, self.progress, self.memory_limit = buffersize, progress, memory_limit

    def changed(self, changes: dict[str, Any]) -> "Options":
        """These, but for what a call says otherwise."""
        if not changes:
            return self
        unknown = changes.keys() - self.__slots__
        if unknown:
            raise TypeError(f"unexpected keyword argument {min(unknown)!r}")
        return Options(**{name: changes.get(name, getattr(self, name)) for name in self.__slots__})

    def attempts_after(self, died: bool) -> int:
        """How often a task that failed, or whose worker died, is run again at most."""
        return max(self.retries, DEATHS) if died and self.on_worker_death == "retry" else self.retries


def check_memory_limit(limit: int | None) -> None:
    """Refuse what no worker could keep to."""
    if limit is not None and limit <= 0:
        raise ValueError(f"memory_limit must be positive, not {limit!r}")


DEFAULT = Options()
