"""Pools of worker processes, and of threads."""

from multiprocessing import pool as standard
from multiprocessing.pool import ThreadPool
from typing import Any

from procession._work import jobs, outcome, pool, streams
from procession.context import _default_context

__all__ = ["Pool", "ThreadPool"]

ApplyResult = jobs.ApplyResult
AsyncResult = jobs.AsyncResult
MapResult = jobs.MapResult
IMapIterator = streams.IMapIterator
IMapUnorderedIterator = streams.IMapUnorderedIterator
RemoteError = outcome.RemoteError

_StandardPool = standard.Pool  # bound now: install() gives the name to ours


class _AnyPool(type):
    """Counts every pool of the standard library as an instance, whichever name made it."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _StandardPool)


class Pool(pool.Pool, metaclass=_AnyPool):
    """Worker processes that run tasks; survives their deaths.

    A task whose worker dies fails with WorkerDiedError, or is run again if that was asked
    for; other tasks are not touched, and the worker is replaced. Leaving `with`, `terminate()`,
    garbage collection and the end of the program end the workers.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Any = None,
        initargs: Any = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
        *,
        memory_limit: int | None = None,
    ) -> None:
        """`memory_limit=`: bytes that each worker may have. One with more is replaced when its task is
        done; one with a quarter more is killed, and its task fails with WorkerDiedError.
        """
        context = context or _default_context.get_context()
        super().__init__(
            processes, initializer, initargs, maxtasksperchild, context, memory_limit=memory_limit
        )


def __getattr__(name: str) -> Any:
    return getattr(standard, name)
