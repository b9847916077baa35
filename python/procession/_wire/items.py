"""Items of queues: what the C pickler asks Python for."""

import sys
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from pickle import PickleBuffer
from typing import Any, Final

from procession._wire import pickling


def by_value(obj: object, refusal: Exception) -> bytes:
    """The pickle of what pickle has refused; raises with a note that says what cannot be sent at all."""
    finds_main = hasattr(sys.modules["__main__"], "__file__")
    return pickling.by_value(
        obj, "the item", finds_main=finds_main, refusal=refusal, whereto="another process"
    )


def dumps(obj: object) -> bytes:
    """An item as the standard library's connections send it."""
    return bytes(ForkingPickler.dumps(obj))


def loads(data: Any) -> Any:
    """What they have sent."""
    return ForkingPickler.loads(data)


def _reduce_memoryview(view: memoryview) -> tuple[Callable[..., memoryview], tuple[Any, ...]]:
    whole = view if view.c_contiguous else memoryview(view.tobytes())
    return _view, (PickleBuffer(whole), view.format, view.shape)


def _view(content: Any, format: str, shape: tuple[int, ...]) -> memoryview:
    view = memoryview(bytearray(content) if isinstance(content, bytes) else content)
    if not all(shape):
        return view  # of no bytes: it cannot be cast to what it was
    return view.cast("B").cast(format, shape)  # type: ignore[call-overload, no-any-return]


REDUCERS: Final[dict[type, Callable[[Any], Any]]] = {memoryview: _reduce_memoryview}
"""What we can send and nobody else has a reducer for."""
