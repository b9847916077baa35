"""concurrent.futures, with an executor whose workers may die: only the call that one ran is broken by it."""

from collections.abc import Callable
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    InvalidStateError,
    ThreadPoolExecutor,
    TimeoutError,
    as_completed,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from procession._work import executor
from procession.context import _default_context

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "BrokenExecutor",
    "BrokenProcessPool",
    "CancelledError",
    "Executor",
    "Future",
    "InvalidStateError",
    "ProcessPoolExecutor",
    "ThreadPoolExecutor",
    "TimeoutError",
    "as_completed",
    "wait",
]


class ProcessPoolExecutor(executor.ProcessPoolExecutor):
    """Runs calls in worker processes, with the interface of concurrent.futures.

    A worker that dies breaks the future of the call that it ran (with a WorkerDiedError that
    is a BrokenProcessPool too) and is replaced; the executor and all other futures go on.
    Workers start at the first `submit`, may have children, and end with their parent.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
    ) -> None:
        if mp_context is None:  # as the standard library does: what forks late may fork beside threads
            mp_context = _default_context.get_context(None if max_tasks_per_child is None else "spawn")
        super().__init__(
            max_workers,
            mp_context,
            initializer,
            initargs,
            max_tasks_per_child=max_tasks_per_child,
        )
