"""Contexts: the whole interface as an object, bound to one start method.

They are subclasses of the standard library's contexts, and their processes of its
processes. A method that is not here is the standard library's.
"""

from collections.abc import Callable, Iterable
from importlib import import_module
from multiprocessing import context as standard
from multiprocessing.context import (
    AuthenticationError,
    BufferTooShort,
    ProcessError,
    TimeoutError,
    assert_spawning,
    get_spawning_popen,
    reduction,
    set_spawning_popen,
)
from typing import TYPE_CHECKING, Any, ClassVar, Literal, overload

from procession._launch import method as start_method
from procession._launch.process import ForkProcess, ForkServerProcess, Process, SpawnProcess
from procession._shared import barriers, conditions, events, locks, queues, semaphores

if TYPE_CHECKING:
    from _typeshed import StrOrBytesPath

    from procession._wire.connections import Connection
    from procession.managers import SyncManager
    from procession.pool import Pool

__all__ = [
    "AuthenticationError",
    "BaseContext",
    "BufferTooShort",
    "DefaultContext",
    "ForkContext",
    "ForkProcess",
    "ForkServerContext",
    "ForkServerProcess",
    "Process",
    "ProcessError",
    "SpawnContext",
    "SpawnProcess",
    "TimeoutError",
    "assert_spawning",
    "get_spawning_popen",
    "reduction",
    "set_spawning_popen",
]

# The standard library's stubs describe its own classes, which ours are not.
# mypy: disable-error-code="override, misc, assignment, attr-defined"


def _sharedctypes() -> Any:
    # ctypes is large, and every page of a process makes its forks dearer: only who makes a value pays.
    return import_module("procession.sharedctypes")


class BaseContext(standard.BaseContext):
    """What all contexts offer."""

    def Lock(self, *, on_owner_death: str = "recover") -> locks.Lock:
        """A lock that excludes everyone; see `procession.synchronize.Lock`."""
        return locks.Lock(on_owner_death=on_owner_death)

    def RLock(self, *, on_owner_death: str = "recover") -> locks.RLock:
        """A lock that its holder may acquire again; see `procession.synchronize.RLock`."""
        return locks.RLock(on_owner_death=on_owner_death)

    def Condition(self, lock: Any = None) -> conditions.Condition:
        """A condition variable over a lock; see `procession.synchronize.Condition`."""
        return conditions.Condition(lock)

    def Semaphore(self, value: int = 1, *, recover: bool | None = None) -> semaphores.Semaphore:
        """A semaphore; see `procession.synchronize.Semaphore`."""
        return semaphores.Semaphore(value, recover=recover)

    def BoundedSemaphore(self, value: int = 1, *, recover: bool | None = None) -> semaphores.BoundedSemaphore:
        """A semaphore that refuses more releases than acquisitions."""
        return semaphores.BoundedSemaphore(value, recover=recover)

    def Event(self) -> events.Event:
        """A flag to wait for; see `procession.synchronize.Event`."""
        return events.Event()

    def Barrier(
        self, parties: int, action: Callable[[], object] | None = None, timeout: float | None = None
    ) -> barriers.Barrier:
        """A place where parties wait for each other; see `procession.synchronize.Barrier`."""
        return barriers.Barrier(parties, action, timeout)

    def RawValue(self, typecode_or_type: Any, *args: Any) -> Any:
        """A ctypes object in shared memory, without a lock."""
        return _sharedctypes().RawValue(typecode_or_type, *args)

    def RawArray(self, typecode_or_type: Any, size_or_initializer: Any) -> Any:
        """A ctypes array in shared memory, without a lock."""
        return _sharedctypes().RawArray(typecode_or_type, size_or_initializer)

    def Value(
        self, typecode_or_type: Any, *args: Any, lock: Any = True, on_owner_death: str = "recover"
    ) -> Any:
        """A value in shared memory with a lock; see `procession.sharedctypes.Value`."""
        return _sharedctypes().Value(typecode_or_type, *args, lock=lock, on_owner_death=on_owner_death)

    def Array(
        self,
        typecode_or_type: Any,
        size_or_initializer: Any,
        *,
        lock: Any = True,
        on_owner_death: str = "recover",
    ) -> Any:
        """An array in shared memory with a lock; see `procession.sharedctypes.Array`."""
        return _sharedctypes().Array(
            typecode_or_type, size_or_initializer, lock=lock, on_owner_death=on_owner_death
        )

    def Manager(self) -> "SyncManager":
        """A manager of objects that processes share, started; see `procession.managers.SyncManager`."""
        module: Any = import_module("procession.managers")
        manager: SyncManager = module.SyncManager(ctx=self.get_context())
        manager.start()
        return manager

    def Pipe(self, duplex: bool = True) -> "tuple[Connection, Connection]":
        """Two connected connections; see `procession.connection.Pipe`."""
        connected: tuple[Connection, Connection] = import_module("procession.connection").Pipe(duplex)
        return connected

    def allow_connection_pickling(self) -> None:
        """Kept for programs that call it: connections and sockets can be pickled at any time."""
        import_module("procession.connection")

    def Queue(self, maxsize: int = 0, *, producers: int | None = None) -> queues.Queue[Any]:
        """A queue; see `procession.queues.Queue`."""
        return queues.Queue(maxsize, producers=producers)

    def JoinableQueue(
        self,
        maxsize: int = 0,
        *,
        producers: int | None = None,
        redeliver: bool = False,
        max_deliveries: int | None = None,
        dead_letter: Any = None,
    ) -> queues.JoinableQueue[Any]:
        """A queue whose items are acknowledged; see `procession.queues.JoinableQueue`."""
        return queues.JoinableQueue(
            maxsize,
            producers=producers,
            redeliver=redeliver,
            max_deliveries=max_deliveries,
            dead_letter=dead_letter,
        )

    def SimpleQueue(self) -> queues.SimpleQueue[Any]:
        """A queue without a bound; see `procession.queues.SimpleQueue`."""
        return queues.SimpleQueue()

    def Pool(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        *,
        memory_limit: int | None = None,
    ) -> "Pool":
        """A pool of worker processes; see `procession.pool.Pool`."""
        module: Any = import_module("procession.pool")
        pool: Pool = module.Pool(
            processes,
            initializer,
            initargs,
            maxtasksperchild,
            context=self.get_context(),
            memory_limit=memory_limit,
        )
        return pool

    def set_executable(self, executable: "StrOrBytesPath | None") -> None:
        """The interpreter that children of spawn and the server behind `forkserver` are started with."""
        super().set_executable(executable)  # type: ignore[arg-type]

    def freeze_support(self) -> None:
        """In a program made into an executable: be the child that it was started as, if it was. Call it first."""
        import_module("procession._launch.command").support_freezing()

    def set_forkserver_preload(self, module_names: list[str]) -> None:
        """Modules that the process behind `forkserver` imports once, for all its children."""
        import_module("procession._launch.zygote").set_preload(module_names)

    @overload
    def get_context(self, method: None = None) -> "BaseContext": ...
    @overload
    def get_context(self, method: Literal["fork"]) -> "ForkContext": ...
    @overload
    def get_context(self, method: Literal["spawn"]) -> "SpawnContext": ...
    @overload
    def get_context(self, method: Literal["forkserver"]) -> "ForkServerContext": ...
    @overload
    def get_context(self, method: str) -> "BaseContext": ...
    def get_context(self, method: str | None = None) -> "BaseContext":
        """The context of that start method; this one for None."""
        if method is None:
            return self
        if method not in _concrete_contexts:
            raise ValueError(f"cannot find context for {method!r}")
        return _concrete_contexts[method]


class DefaultContext(BaseContext, standard.DefaultContext):
    """The context behind the package's own names; its start method can be set once."""

    Process: ClassVar[type[Process]] = Process
    _actual_context: BaseContext | None
    _default_context: BaseContext

    @overload
    def get_context(self, method: None = None) -> BaseContext: ...
    @overload
    def get_context(self, method: Literal["fork"]) -> "ForkContext": ...
    @overload
    def get_context(self, method: Literal["spawn"]) -> "SpawnContext": ...
    @overload
    def get_context(self, method: Literal["forkserver"]) -> "ForkServerContext": ...
    @overload
    def get_context(self, method: str) -> BaseContext: ...
    def get_context(self, method: str | None = None) -> BaseContext:
        """The context of that start method; for None the one in use, which is then settled."""
        if method is not None:
            return BaseContext.get_context(self, method)
        if self._actual_context is None:
            self._actual_context = self._default_context
        return self._actual_context

    def set_start_method(self, method: str | None, force: bool = False) -> None:
        """Choose how processes start, once; again only by force."""
        super().set_start_method(method, force)
        start_method.forced = method

    def get_start_method(self, allow_none: bool = False) -> str | None:
        """How processes start; that is then settled, unless `allow_none` and nothing was chosen."""
        return super().get_start_method(allow_none)


class ForkContext(BaseContext, standard.ForkContext):
    """Processes by fork."""

    Process: ClassVar[type[ForkProcess]] = ForkProcess


class SpawnContext(BaseContext, standard.SpawnContext):
    """Processes as new interpreters."""

    Process: ClassVar[type[SpawnProcess]] = SpawnProcess


class ForkServerContext(BaseContext, standard.ForkServerContext):
    """Processes by a server that forks."""

    Process: ClassVar[type[ForkServerProcess]] = ForkServerProcess


_concrete_contexts: dict[str, BaseContext] = {
    "fork": ForkContext(),
    "spawn": SpawnContext(),
    "forkserver": ForkServerContext(),
}
# The interpreter's own default, whatever has been chosen since.
_default_context: DefaultContext = DefaultContext(
    _concrete_contexts[standard._default_context._default_context._name]
)


def _force_start_method(method: str) -> None:
    _default_context._actual_context = _concrete_contexts[method]


start_method.listen(_force_start_method)


def __getattr__(name: str) -> Any:
    return getattr(standard, name)
