"""Locks, and the synchronisation primitives that are still the standard library's."""

from multiprocessing import synchronize as standard
from multiprocessing.synchronize import Barrier, BoundedSemaphore, Condition, Event, Semaphore, SemLock
from typing import Any

from procession._shared.locks import Lock, RLock

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "Lock",
    "RLock",
    "SemLock",
    "Semaphore",
]


def __getattr__(name: str) -> Any:
    return getattr(standard, name)
