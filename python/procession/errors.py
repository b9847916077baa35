"""Errors that multiprocessing never raised: when, and what to do, each says itself."""

from procession._base.errors import (
    ArenaLostError,
    ConsumerDiedError,
    ForkWithThreadsWarning,
    ManagerDiedError,
    OwnerDiedError,
    OwnerDiedWarning,
    PoolTerminatedError,
    Recovery,
    StaleHandleError,
    TaskCancelledError,
    TaskTimeoutError,
    TornMessageError,
    UnsupportedPlatformError,
    WorkerDiedError,
)

__all__ = [
    "ArenaLostError",
    "ConsumerDiedError",
    "ForkWithThreadsWarning",
    "ManagerDiedError",
    "OwnerDiedError",
    "OwnerDiedWarning",
    "PoolTerminatedError",
    "Recovery",
    "StaleHandleError",
    "TaskCancelledError",
    "TaskTimeoutError",
    "TornMessageError",
    "UnsupportedPlatformError",
    "WorkerDiedError",
]
