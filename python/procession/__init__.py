"""Python's multiprocessing on a crash-safe shared-memory core.

    from procession import Lock, Process, Value

Every name of `multiprocessing` is here and means the same. Names are loaded when
they are first used: importing the package starts nothing and makes nothing.
"""

import sys

from procession._base import platform as _platform

_refusal = _platform.refusal()
if _refusal is not None and not _platform.is_diagnosing():
    raise ImportError(_refusal)

__version__ = "0.1.0"

__all__ = [
    "ArenaLostError",
    "Array",
    "AuthenticationError",
    "Barrier",
    "BoundedSemaphore",
    "BufferTooShort",
    "Condition",
    "Event",
    "ForkWithThreadsWarning",
    "JoinableQueue",
    "Lock",
    "Manager",
    "OwnerDiedError",
    "OwnerDiedWarning",
    "Pipe",
    "Pool",
    "Process",
    "ProcessError",
    "ProcessPoolExecutor",
    "Queue",
    "RLock",
    "RawArray",
    "RawValue",
    "Semaphore",
    "SimpleQueue",
    "StaleHandleError",
    "TimeoutError",
    "TornMessageError",
    "UnsupportedPlatformError",
    "Value",
    "WorkerDiedError",
    "active_children",
    "allow_connection_pickling",
    "compat",
    "cpu_count",
    "cpus",
    "current_process",
    "freeze_support",
    "get_all_start_methods",
    "get_context",
    "get_logger",
    "get_start_method",
    "install",
    "log_to_stderr",
    "parent_process",
    "reducer",
    "set_executable",
    "set_forkserver_preload",
    "set_start_method",
    "uninstall",
]

SUBDEBUG = 5
SUBWARNING = 25

_OURS = {
    "ArenaLostError": "errors",
    "ForkWithThreadsWarning": "errors",
    "OwnerDiedError": "errors",
    "OwnerDiedWarning": "errors",
    "StaleHandleError": "errors",
    "TornMessageError": "errors",
    "UnsupportedPlatformError": "errors",
    "ProcessPoolExecutor": "futures",
    "WorkerDiedError": "errors",
    "compat": "_base.compat",
    "cpus": "_base.cpus",
    "empty": "_shared.buffers",
    "install": "_install",
    "uninstall": "_install",
}
_MODULES = {
    "connection",
    "context",
    "dummy",
    "errors",
    "forkserver",
    "futures",
    "heap",
    "managers",
    "pool",
    "popen_fork",
    "popen_forkserver",
    "popen_spawn_posix",
    "process",
    "queues",
    "reduction",
    "resource_sharer",
    "resource_tracker",
    "shared_memory",
    "shared",
    "sharedctypes",
    "spawn",
    "synchronize",
    "util",
}


def _module(name: str) -> object:
    full = f"{__name__}.{name}"
    __import__(full)
    return sys.modules[full]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return _module(name)
    if name in _OURS:
        value = getattr(_module(_OURS[name]), name)
    elif name in __all__:
        # A method of the default context, as all of multiprocessing's own names are.
        value = getattr(getattr(_module("context"), "_default_context"), name)  # noqa: B009
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__} - {"sys"})


MYPY = False
if MYPY:  # what a type checker sees
    from procession._base.compat import compat as compat
    from procession._base.cpus import cpus as cpus
    from procession._install import install as install
    from procession._install import uninstall as uninstall
    from procession._shared.buffers import empty as empty
    from procession.context import AuthenticationError as AuthenticationError
    from procession.context import BufferTooShort as BufferTooShort
    from procession.context import Process as Process
    from procession.context import ProcessError as ProcessError
    from procession.context import TimeoutError as TimeoutError
    from procession.context import _default_context
    from procession.errors import ArenaLostError as ArenaLostError
    from procession.errors import ForkWithThreadsWarning as ForkWithThreadsWarning
    from procession.errors import OwnerDiedError as OwnerDiedError
    from procession.errors import OwnerDiedWarning as OwnerDiedWarning
    from procession.errors import StaleHandleError as StaleHandleError
    from procession.errors import TornMessageError as TornMessageError
    from procession.errors import UnsupportedPlatformError as UnsupportedPlatformError
    from procession.errors import WorkerDiedError as WorkerDiedError
    from procession.futures import ProcessPoolExecutor as ProcessPoolExecutor

    Array = _default_context.Array
    Barrier = _default_context.Barrier
    BoundedSemaphore = _default_context.BoundedSemaphore
    Condition = _default_context.Condition
    Event = _default_context.Event
    JoinableQueue = _default_context.JoinableQueue
    Lock = _default_context.Lock
    Manager = _default_context.Manager
    Pipe = _default_context.Pipe
    Pool = _default_context.Pool
    Queue = _default_context.Queue
    RLock = _default_context.RLock
    RawArray = _default_context.RawArray
    RawValue = _default_context.RawValue
    Semaphore = _default_context.Semaphore
    SimpleQueue = _default_context.SimpleQueue
    Value = _default_context.Value
    active_children = _default_context.active_children
    allow_connection_pickling = _default_context.allow_connection_pickling
    cpu_count = _default_context.cpu_count
    current_process = _default_context.current_process
    freeze_support = _default_context.freeze_support
    get_all_start_methods = _default_context.get_all_start_methods
    get_context = _default_context.get_context
    get_logger = _default_context.get_logger
    get_start_method = _default_context.get_start_method
    log_to_stderr = _default_context.log_to_stderr
    parent_process = _default_context.parent_process
    reducer = _default_context.reducer
    set_executable = _default_context.set_executable
    set_forkserver_preload = _default_context.set_forkserver_preload
    set_start_method = _default_context.set_start_method
del MYPY
