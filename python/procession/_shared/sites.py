"""Where locks were taken: noted by programs that debug, so that others' waits can tell.

`PROCESSION_DEBUG=1`, or `procession run -d`. The text of each place is a piece of
shared memory that the process makes once and keeps; a lock points at it. Noting costs
a Python call for each acquire, so nothing of this exists unless it is asked for.
"""

import os
import sys
from types import FrameType
from typing import Any, Final

from procession import _native
from procession._base.owner_death import is_library
from procession._shared.locks import Lock, RLock

VARIABLE: Final = "PROCESSION_DEBUG"

_texts: dict[str, _native.Memory] = {}


def _text_of(frame: FrameType | None) -> _native.Memory:
    while frame is not None and is_library(frame) and frame.f_back is not None:
        frame = frame.f_back
    place = "?" if frame is None else f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"  # noqa: PTH119
    if place not in _texts:
        encoded = place.encode()[:512]
        _texts[place] = text = _native.Memory(len(encoded))
        memoryview(text)[:] = encoded
    return _texts[place]


def _note_in(cls: type[_native.SemLock]) -> None:
    acquire, enter = cls.acquire, cls.__enter__

    def noting_acquire(self: Any, block: bool = True, timeout: float | None = None) -> bool:
        taken = acquire(self, block, timeout)
        if taken:
            self._set_site(_text_of(sys._getframe(1)))
        return taken

    def noting_enter(self: Any) -> bool:
        taken = enter(self)
        self._set_site(_text_of(sys._getframe(1)))
        return taken

    cls.acquire = noting_acquire  # type: ignore[method-assign]
    cls.__enter__ = noting_enter  # type: ignore[method-assign]


def enable() -> None:
    """From now on each acquire notes its place; children do so as well."""
    if not getattr(Lock.acquire, "__code__", None):
        os.environ[VARIABLE] = "1"
        for cls in (Lock, RLock):
            _note_in(cls)


def enable_if_asked() -> None:
    """As the environment says."""
    if os.environ.get(VARIABLE):
        enable()
