"""Managers: the standard library's, whose servers are procession's processes unless told otherwise."""

from multiprocessing import managers as standard
from multiprocessing.managers import BaseProxy, Token
from typing import Any

from procession.context import _default_context

__all__ = ["BaseManager", "BaseProxy", "SharedMemoryManager", "SyncManager", "Token"]

_StandardSharedMemoryManager = standard.SharedMemoryManager  # bound now: install() gives the name to ours


class BaseManager(standard.BaseManager):
    """A server process that holds objects, and proxies of them."""

    def __init__(
        self,
        address: Any = None,
        authkey: Any = None,
        serializer: str = "pickle",
        ctx: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(address, authkey, serializer, ctx or _default_context.get_context(), **kwargs)


class SyncManager(BaseManager, standard.SyncManager):
    """A manager of locks, queues, lists and dicts."""


class SharedMemoryManager(BaseManager, standard.SharedMemoryManager):
    """A manager of blocks of shared memory."""

    def __init__(
        self,
        address: Any = None,
        authkey: Any = None,
        serializer: str = "pickle",
        ctx: Any = None,
        **kwargs: Any,
    ) -> None:
        ctx = ctx or _default_context.get_context()
        _StandardSharedMemoryManager.__init__(self, address, authkey, serializer, ctx, **kwargs)


def __getattr__(name: str) -> Any:
    return getattr(standard, name)
