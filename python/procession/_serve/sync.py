"""`SyncManager`: its own types lie in the arena; a server is started for what needs one.

    manager.dict(), list(), Lock(), Queue(), ...     in the arena
    manager.Pool(), registered types, `address`      in the server, started when it is first needed
    SyncManager(address), connect()                  everything in that server

Objects in the arena live as long as somebody has them. Whether the manager has been shut down is one word
there, which every proxy looks at.
"""

import os
import queue
import threading
from collections.abc import Callable
from importlib import import_module
from multiprocessing import managers as standard
from multiprocessing import util
from multiprocessing.managers import State
from typing import Any
from weakref import WeakSet

from procession._serve import arena_locks, arena_queues, kinds  # noqa: F401  they register their kinds
from procession._serve.arena import KINDS, ArenaProxy
from procession._serve.arena_containers import ArenaDict  # noqa: F401  as above
from procession._serve.kinds import Array, Namespace, Value
from procession._serve.manager import BaseManager
from procession._shared.containers.counters import Counter
from procession._wire.listeners import Address

# mypy: disable-error-code="override, misc, assignment, attr-defined"


def make_pool(*args: Any, **kwds: Any) -> Any:
    """A pool in the server."""
    return import_module("procession.pool").Pool(*args, **kwds)  # above us


class SyncManager(BaseManager, standard.SyncManager):
    """Makes dicts, lists, sets, namespaces, values, arrays, queues, locks and pools that processes share.

    Without an address they lie in shared memory: a call is a call of this process, no server is asked, and they live as
    long as somebody has them. A server process is started for pools, for registered types, for
    an initializer, and when `address` is asked for. With an address all is in the server.
    """

    __module__ = "procession.managers"

    def __init__(
        self,
        address: Address = None,
        authkey: bytes | None = None,
        serializer: str = "pickle",
        ctx: Any = None,
        *,
        shutdown_timeout: float = 1.0,
    ) -> None:
        super().__init__(address, authkey, serializer, ctx, shutdown_timeout=shutdown_timeout)
        self._is_local = address is None
        self._life: Counter | None = None
        self._pid = os.getpid()
        self._proxies: WeakSet[ArenaProxy] = WeakSet()
        self._launching = util.ForkAwareThreadLock()

    @property
    def address(self) -> Address:
        """Where the server listens, which is started for who asks this."""
        if self._is_local and self._state.value == State.STARTED:
            self._need_server()
        return self._address

    def start(self, initializer: Callable[..., object] | None = None, initargs: Any = ()) -> None:
        """Start; with a server process only for an address, an initializer or types that were registered."""
        if initializer is not None or not self._is_local or self._has_more_types():
            super().start(initializer, initargs)
        else:
            self._check_initial()
            self._state.value = State.STARTED

    def _has_more_types(self) -> bool:
        return any(entry is not OWN.get(typeid) for typeid, entry in self._registry.items())

    def _need_server(self) -> None:
        with self._launching:
            if self._address is None:
                self._launch()

    def shutdown(self) -> None:
        """End the server, if there is one. Proxies then raise ManagerDiedError."""
        if self._is_local and self._state.value == State.STARTED and self._pid == os.getpid():
            self._state.value = State.SHUTDOWN
            if self._life is not None:
                self._life.value = 1
                for proxy in list(self._proxies):
                    proxy._shut()
        super().shutdown()

    def _create(self, typeid: str, /, *args: Any, **kwds: Any) -> tuple[Any, Any]:
        """Make an object in the server; its token and its methods."""
        self._check_started()
        if self._is_local:
            self._need_server()
        return super()._create(typeid, *args, **kwds)

    def _make(self, typeid: str, proxytype: Any, args: Any, kwds: Any) -> Any:
        if self._is_local and typeid in KINDS and self._registry[typeid] is OWN[typeid]:
            return self._make_here(typeid, args, kwds)
        return super()._make(typeid, proxytype, args, kwds)

    def _make_here(self, typeid: str, args: Any, kwds: Any) -> Any:
        self._check_started()
        if self._life is None:
            self._life = Counter()
        proxy = KINDS[typeid]._made(self._life, args, kwds)
        self._proxies.add(proxy)
        return proxy

    def _number_of_objects(self) -> int:
        """How many objects proxies refer to: the server's, and those in the arena that this process has made."""
        return len(self._proxies) + (0 if self._address is None else super()._number_of_objects())

    def _debug_info(self) -> str:
        """Those objects, a line or two for each."""
        local = [f"  {proxy._id}:       in the arena\n    {str(proxy)[:75]}" for proxy in self._proxies]
        return "\n".join([*local, *([] if self._address is None else [super()._debug_info()])])

    def __reduce__(self) -> tuple[Any, ...]:
        if not self._is_local or self._address is not None:
            return super().__reduce__()
        return _reopen_local, (type(self), self._life, self._state.value)


def _reopen_local(cls: type[SyncManager], life: Counter | None, state: int) -> SyncManager:
    manager = cls()
    manager._life, manager._state.value, manager._pid = life, state, 0
    return manager


for typeid, make, proxytype in (
    ("Queue", queue.Queue, None),
    ("JoinableQueue", queue.Queue, None),
    ("Event", threading.Event, kinds.EventProxy),
    ("Lock", threading.Lock, kinds.AcquirerProxy),
    ("RLock", threading.RLock, kinds.AcquirerProxy),
    ("Semaphore", threading.Semaphore, kinds.AcquirerProxy),
    ("BoundedSemaphore", threading.BoundedSemaphore, kinds.AcquirerProxy),
    ("Condition", threading.Condition, kinds.ConditionProxy),
    ("Barrier", threading.Barrier, kinds.BarrierProxy),
    ("Pool", make_pool, kinds.PoolProxy),
    ("list", list, kinds.ListProxy),
    ("dict", dict, kinds.DictProxy),
    ("set", set, kinds.SetProxy),
    ("Value", Value, kinds.ValueProxy),
    ("Array", Array, kinds.ArrayProxy),
    ("Namespace", Namespace, kinds.NamespaceProxy),
):
    SyncManager.register(typeid, make, proxytype)
# What methods of a pool's and a dict's proxies return.
SyncManager.register("Iterator", proxytype=kinds.IteratorProxy, create_method=False)
SyncManager.register("AsyncResult", create_method=False)

OWN = dict(SyncManager._registry)
