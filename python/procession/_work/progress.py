"""Progress of a job: a bar by tqdm, or whatever a program makes of two numbers."""

from collections.abc import Callable
from importlib import import_module
from time import monotonic
from typing import Any

from procession._base import log

OFTEN = 0.05
"""Seconds between two reports at least; the last one always comes."""


class Meter:
    """Tells of tasks that are done; in the collector's thread."""

    def __init__(
        self, tell: Callable[[int, int | None], object], total: int | None, end: Callable[[], object]
    ) -> None:
        self._tell, self._total, self._end = tell, total, end
        self._done, self._told, self._at = 0, 0, monotonic()

    @classmethod
    def of(cls, progress: Any, total: int | None) -> "Meter | None":
        """What `progress=` asks for: None or False nothing, True a bar, or a callable `(done, total)`."""
        if progress is None or progress is False:
            return None
        if callable(progress):
            return cls(progress, total, lambda: None)
        if progress is not True:
            raise TypeError(f"progress must be True or a callable, not {progress!r}")
        tqdm = import_module("tqdm.auto").tqdm
        # tqdm's monitor is a thread that stays, and a fork beside threads is one to be warned of.
        quiet = type(tqdm)(tqdm.__name__, (tqdm,), {"monitor_interval": 0})
        bar = quiet(total=total, miniters=1)

        def tell(done: int, _: int | None) -> None:
            bar.update(done - bar.n)

        return cls(tell, total, bar.close)

    def advance(self, tasks: int) -> None:
        """So many more are done."""
        self._done += tasks
        now = monotonic()
        if self._done == self._total or now - self._at >= OFTEN:
            self._at = now
            self._say()

    def _say(self) -> None:
        self._told = self._done
        try:
            self._tell(self._done, self._total)
        except Exception as error:  # noqa: BLE001  a callback is anybody's code, and the pool goes on
            log.error("a pool's progress report failed", error)

    def close(self) -> None:
        """No more is to come."""
        if self._told != self._done:
            self._say()
        self._end()
