"""Locks, semaphores, events, conditions and barriers."""

from importlib import import_module
from typing import Any

from procession._shared.barriers import Barrier
from procession._shared.conditions import Condition
from procession._shared.events import Event
from procession._shared.locks import Lock, RLock
from procession._shared.semaphores import BoundedSemaphore, Semaphore

__all__ = ["Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "Semaphore"]


def __getattr__(name: str) -> Any:
    return getattr(import_module("multiprocessing.synchronize"), name)
