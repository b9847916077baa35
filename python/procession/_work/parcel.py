"""Tasks and results as bytes: through a ring when they are small, in memory of their own when not.

A large parcel is a pickle whose buffers lie outside it, all in one piece of the arena:

    pickle | buffer | buffer ...        the record: (handle, length of the pickle, the buffers' places)

Whoever opens it gets arrays that lie in that very memory, which is freed with the last of them.
"""

import copyreg
import pickle
from collections.abc import Callable
from io import BytesIO
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple

from procession import _native
from procession._wire import main_module, pickling
from procession._work.desk import LARGEST

LINE = 64
"""Buffers begin at multiples of it, as processors like it."""
OUT_OF_BAND = 16 << 10
"""Bytes of a buffer that is worth a place of its own."""


class Parcel(NamedTuple):
    """A pickle and the buffers that lie outside it."""

    pickled: bytes
    buffers: list[memoryview]

    def is_small(self) -> bool:
        """Whether it goes through a ring as it is."""
        return not self.buffers and len(self.pickled) <= LARGEST


def pack(obj: object) -> Parcel:
    """Pickle as multiprocessing does; raises what pickle raises."""
    into, buffers = BytesIO(), []

    def lies_inside(buffer: pickle.PickleBuffer) -> bool:
        try:
            view = buffer.raw()
        except BufferError:  # not in one piece
            return True
        if view.nbytes < OUT_OF_BAND:
            return True
        buffers.append(view)
        return False

    pickler = pickle.Pickler(into, pickle.HIGHEST_PROTOCOL, buffer_callback=lies_inside)
    # As ForkingPickler's, which takes no callback for buffers.
    pickler.dispatch_table = {**copyreg.dispatch_table, **ForkingPickler._extra_reducers}  # type: ignore[attr-defined]
    pickler.dump(obj)
    return Parcel(into.getvalue(), buffers)


def may_be_unknown(pickled: bytes) -> bool:
    """Whether a pickle may name something of the main module that a worker does not have."""
    return main_module.may_be_guarded(pickled) if main_module.has_file() else b"__main__" in pickled


def pack_by_value(obj: object, refusal: Exception | None) -> Parcel:
    """Pickle what `pack` has refused, or a worker would not find; raises with a note that says where in the task it lies."""
    finds_main = main_module.has_file()
    return Parcel(
        pickling.by_value(obj, "the task", finds_main=finds_main, refusal=refusal, whereto="a worker"), []
    )


def function_by_name(function: Callable[..., object]) -> bytes:
    """The pickle of a task's function: by name where a worker finds it, else by value."""
    return pickling.dumps(function, "the function", finds_main=main_module.has_file(), again=lambda: None)


def _places(parcel: Parcel) -> tuple[list[tuple[int, int, bool]], int]:
    places, end = [], len(parcel.pickled)
    for buffer in parcel.buffers:
        at = -(-end // LINE) * LINE
        end = at + buffer.nbytes
        places.append((at, end, buffer.readonly))
    return places, end


def store(parcel: Parcel) -> tuple[bytes, _native.Memory]:
    """Put a large parcel into the arena: what to send, and the memory, to be kept until it is opened."""
    places, end = _places(parcel)
    memory = _native.Memory(end)
    with memoryview(memory) as view:
        view[: len(parcel.pickled)] = parcel.pickled
        for (at, after, _), buffer in zip(places, parcel.buffers, strict=True):
            view[at:after] = buffer
    return pickle.dumps((memory._handle(), len(parcel.pickled), places), pickle.HIGHEST_PROTOCOL), memory


def fetch(sent: bytes) -> Any:
    """What lies in the arena behind a large parcel's record."""
    handle, length, places = pickle.loads(sent)
    view = memoryview(_native.Memory._open(handle))
    buffers = []
    for at, end, is_readonly in places:
        buffer = view[at:end]
        buffers.append(buffer.toreadonly() if is_readonly else buffer)
    return pickle.loads(view[:length], buffers=buffers)
