"""Queues between processes."""

from importlib import import_module
from queue import Empty, Full
from typing import Any

from procession._shared.queues import JoinableQueue, Queue, ShutDown, SimpleQueue

__all__ = ["Empty", "Full", "JoinableQueue", "Queue", "ShutDown", "SimpleQueue"]


def __getattr__(name: str) -> Any:
    return getattr(import_module("multiprocessing.queues"), name)
