"""Representations, of containers that may lie in themselves as well."""

import threading
from collections.abc import Callable
from typing import Any


class _Shown(threading.local):
    def __init__(self) -> None:
        self.handles: set[tuple[bytes, int, int]] = set()


_shown = _Shown()


def of(container: Any, name: str, copy: Callable[[], Any]) -> str:
    """`name(contents)`; `name(...)` inside of itself."""
    handle = container._handle()
    if handle in _shown.handles:
        return f"{name}(...)"
    _shown.handles.add(handle)
    try:
        contents = copy()
        return f"{name}({contents!r})" if contents else f"{name}()"
    finally:
        _shown.handles.discard(handle)
