"""Memory for ctypes objects: pieces of the arena."""

from multiprocessing import heap as standard
from typing import Any

from procession._shared.memory import BufferWrapper

__all__ = ["BufferWrapper"]


def __getattr__(name: str) -> Any:
    return getattr(standard, name)
