"""What a caller can ask for besides the standard library's arguments."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

OnWorkerDeath = Literal["raise", "retry", "skip"]
Progress = bool | Callable[[int, int | None], object]

DEATHS = 3
"""How often a task is run again after its worker died, with `on_worker_death="retry"` and no `retries`."""


@dataclass(frozen=True, slots=True)
class Options:
    """How tasks are to be treated; `pool.options(...)` gives a pool with others."""

    timeout: float | None = None
    retries: int = 0
    on_worker_death: OnWorkerDeath = "raise"
    buffersize: int | None = None
    progress: Progress | None = None
    memory_limit: int | None = None

    def __post_init__(self) -> None:
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError(f"timeout must be positive, not {self.timeout!r}")
        if self.retries < 0:
            raise ValueError(f"retries must be 0 or more, not {self.retries!r}")
        if self.on_worker_death not in ("raise", "retry", "skip"):
            raise ValueError(
                f"on_worker_death must be 'raise', 'retry' or 'skip', not {self.on_worker_death!r}"
            )
        if self.buffersize is not None and self.buffersize < 1:
            raise ValueError(f"buffersize must be positive, not {self.buffersize!r}")
        check_memory_limit(self.memory_limit)

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
