"""Managers: objects that many processes use by proxies.

    from procession import Manager

    with Manager() as manager:
        words = manager.dict()

`Manager()`'s own types lie in shared memory and need no server process; registered types, and
managers with an address, have one, which speaks the standard library's protocol.
"""

from importlib import import_module
from multiprocessing.managers import State  # type: ignore[attr-defined]  # noqa: F401
from typing import Any

from procession import _shared  # noqa: F401  the core knows what to raise before the first object exists
from procession._serve.arena import open_proxy  # noqa: F401
from procession._serve.kinds import (
    AcquirerProxy,
    Array,
    ArrayProxy,
    BarrierProxy,
    BaseListProxy,
    BasePoolProxy,
    ConditionProxy,
    DictProxy,
    EventProxy,
    IteratorProxy,
    ListProxy,
    Namespace,
    NamespaceProxy,
    PoolProxy,
    SetProxy,
    Value,
    ValueProxy,
)
from procession._serve.links import ProcessLocalSet
from procession._serve.manager import BaseManager
from procession._serve.messages import RemoteError, Token, convert_to_error, dispatch, listener_client
from procession._serve.proxies import AutoProxy, BaseProxy, MakeProxyType, RebuildProxy
from procession._serve.segments import SharedMemoryManager, SharedMemoryServer
from procession._serve.server import Server, all_methods, public_methods
from procession._serve.sync import SyncManager

__all__ = ["BaseManager", "BaseProxy", "SharedMemoryManager", "SyncManager", "Token"]

_OURS = (
    AcquirerProxy, Array, ArrayProxy, AutoProxy, BarrierProxy, BaseListProxy, BasePoolProxy, ConditionProxy,
    DictProxy, EventProxy, IteratorProxy, ListProxy, MakeProxyType, Namespace, NamespaceProxy, PoolProxy,
    ProcessLocalSet, RebuildProxy, RemoteError, Server, SetProxy, SharedMemoryServer, Value, ValueProxy,
    all_methods, convert_to_error, dispatch, listener_client, public_methods,
)  # fmt: skip
"""Public in the standard library's module without being in its `__all__`, or found here by pickles."""


def __getattr__(name: str) -> Any:
    return getattr(import_module("multiprocessing.managers"), name)
