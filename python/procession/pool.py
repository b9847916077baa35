"""Pools: the standard library's, made with procession's processes and locks unless told otherwise."""

from multiprocessing import pool as standard
from multiprocessing.pool import ThreadPool
from typing import Any

from procession.context import _default_context

__all__ = ["Pool", "ThreadPool"]

_StandardPool = standard.Pool  # bound now: install() gives the name to ours


class _AnyPool(type):
    """Counts every pool of the standard library as an instance, whichever name made it."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _StandardPool)


class Pool(standard.Pool, metaclass=_AnyPool):
    """A pool of worker processes."""

    def __init__(
        self,
        processes: int | None = None,
        initializer: Any = None,
        initargs: Any = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
    ) -> None:
        context = context or _default_context.get_context()
        super().__init__(processes, initializer, initargs, maxtasksperchild, context)


def __getattr__(name: str) -> Any:
    return getattr(standard, name)
