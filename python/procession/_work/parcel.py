"""Tasks and results as bytes: through a ring when they are small, in memory of their own when not.

A large parcel is a pickle whose buffers lie outside it, all in one piece of the arena:

    pickle | buffer | buffer ...        the record: (handle, length of the pickle, the buffers' places)

Whoever opens it gets arrays that lie in that very memory, which is freed with the last of them. A buffer
that lies in the arena already is referred to where it lies, and so is one that several tasks have in common,
which each worker maps for itself.

A result that refers to shared objects is the item of a queue of its own, which keeps them as any queue keeps what its
items enclose; the record is the queue's handle.
"""

import pickle
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

from procession import _native
from procession._wire import pickling, reducers
from procession._wire.main_module import Forked
from procession._work.common import Common
from procession._work.desk import LARGEST

if TYPE_CHECKING:
    from procession._shared.handles import Face

LINE = 64
"""Buffers begin at multiples of it, as processors like it."""
OUT_OF_BAND = 16 << 10
"""Bytes of a buffer that is worth a place of its own."""
MANY = 1 << 30


class Reference(NamedTuple):
    """A buffer that lies in the arena already."""

    memory: _native.Memory
    start: int
    nbytes: int
    readonly: bool
    is_private: bool
    """Whether who opens it is to see its own writes alone."""


class Parcel(NamedTuple):
    """A pickle and the buffers that lie outside it."""

    pickled: bytes
    buffers: list[memoryview | Reference]

    def is_small(self) -> bool:
        """Whether it goes through a ring as it is."""
        return not self.buffers and len(self.pickled) <= LARGEST


def pack(obj: object, common: Common | None = None, *, references: int = MANY) -> Parcel:
    """Pickle as multiprocessing does; raises what pickle raises.

    At most so many buffers that lie in the arena already are referred to; the others are copied.
    """
    into = BytesIO()
    buffers: list[memoryview | Reference] = []
    left = references

    def lies_inside(buffer: pickle.PickleBuffer) -> bool:
        nonlocal left
        try:
            view = buffer.raw()
        except BufferError:  # not in one piece
            return True
        if view.nbytes < OUT_OF_BAND:
            return True
        found = _native.Memory._lending(view) if left else None
        if found is not None:
            left -= 1
            buffers.append(Reference(*found, view.nbytes, view.readonly, is_private=False))
        elif common is not None and (copy := common.copy_of(view)) is not None:
            buffers.append(Reference(copy, 0, view.nbytes, view.readonly, is_private=True))
        else:
            buffers.append(view)
        return False

    pickler = pickle.Pickler(into, pickle.HIGHEST_PROTOCOL, buffer_callback=lies_inside)
    pickler.dispatch_table = reducers.table()  # ForkingPickler takes no callback for buffers
    pickler.dump(obj)
    return Parcel(into.getvalue(), buffers)


def pack_by_value(obj: object, refusal: Exception | None, finds_main: bool | Forked) -> Parcel:
    """Pickle what `pack` has refused, or a worker would not find; raises with a note that says where in the task it lies."""
    return Parcel(
        pickling.by_value(obj, "the task", finds_main=finds_main, refusal=refusal, whereto="a worker"), []
    )


def function_by_name(function: Callable[..., object], finds_main: bool | Forked) -> bytes:
    """The pickle of a task's function: by name where a worker finds it, else by value."""
    return pickling.dumps(function, "the function", finds_main=finds_main, again=lambda: None)


class Place(NamedTuple):
    """Where whoever opens a parcel finds one of its buffers."""

    handle: tuple[bytes, int, int] | None
    """None: in the parcel's own memory."""
    start: int
    nbytes: int
    readonly: bool
    is_private: bool


def store(parcel: Parcel) -> tuple[bytes, list[_native.Memory]]:
    """Put a large parcel into the arena: what to send, and the memories to be kept until it is opened, its own first."""
    places: list[Place] = []
    pieces: list[tuple[int, bytes | memoryview]] = [(0, parcel.pickled)]
    end = len(parcel.pickled)
    for buffer in parcel.buffers:
        if isinstance(buffer, Reference):
            places.append(Place(buffer.memory._handle(), *buffer[1:]))
        else:
            at = -(-end // LINE) * LINE
            places.append(Place(None, at, buffer.nbytes, buffer.readonly, is_private=False))
            pieces.append((at, buffer))
            end = at + buffer.nbytes
    referred = (buffer.memory for buffer in parcel.buffers if isinstance(buffer, Reference))
    memories = [_native.Memory._holding(end, pieces), *referred]
    record = (memories[0]._handle(), len(parcel.pickled), [tuple(place) for place in places])
    return pickle.dumps(record, pickle.HIGHEST_PROTOCOL), memories


def fetch(sent: bytes) -> Any:
    """What lies in the arena behind a large parcel's record."""
    pickled, buffers = find(sent)
    return pickle.loads(pickled, buffers=buffers)


def find(sent: bytes) -> tuple[memoryview, Iterator[memoryview]]:
    """The pickle that lies in the arena behind a large parcel's record, and its buffers."""
    handle, length, places = pickle.loads(sent)
    view = memoryview(_native.Memory._open(handle))
    buffers = []
    for place in map(Place._make, places):
        buffer = _buffer_at(place, view)
        buffers.append(buffer.toreadonly() if place.readonly else buffer)
    return view[:length], iter(buffers)


def drop(sent: bytes) -> None:
    """Let go of what lies in the arena behind a large result's record; nothing is unpickled but that."""
    handle, _, places = pickle.loads(sent)
    for held in (handle, *(place.handle for place in map(Place._make, places))):
        if held is not None:
            _native.Memory._open(held)


class _Carried:
    """A parcel as an item: with the shared objects that its pickle, made before, refers to."""

    def __init__(self, parcel: Parcel, enclosed: "list[Face]") -> None:
        self._parcel, self._enclosed = parcel, enclosed

    def __reduce__(self) -> tuple[Any, ...]:
        for obj in self._enclosed:
            if not _native.take_along(obj, obj._handle()):
                obj._pin()  # it is of another arena than the queue
        buffers = [pickle.PickleBuffer(_view_of(buffer)) for buffer in self._parcel.buffers]
        return _open, (self._parcel.pickled, buffers)


def _view_of(buffer: memoryview | Reference) -> memoryview:
    if not isinstance(buffer, Reference):
        return buffer
    view = memoryview(buffer.memory)[buffer.start : buffer.start + buffer.nbytes]
    return view.toreadonly() if buffer.readonly else view


def _open(pickled: bytes, buffers: list[Any]) -> Any:
    return pickle.loads(pickled, buffers=buffers)


def carry(parcel: Parcel, enclosed: "list[Face]") -> _native.Queue[Any]:
    """The queue whose item the parcel is, and with it the objects that its pickle refers to."""
    queue: _native.Queue[Any] = _native.Queue(0, 0)
    queue.put(_Carried(parcel, enclosed))
    return queue


def receive(sent: bytes) -> Any:
    """What was carried, of the pickle of its queue's handle."""
    queue: _native.Queue[Any] = _native.Queue._open(pickle.loads(sent))
    return queue.get()


def drop_carried(sent: bytes) -> None:
    """Let go of what was carried."""
    _native.Queue._open(pickle.loads(sent))


def _buffer_at(place: Place, own: memoryview) -> memoryview:
    if place.handle is None:
        return own[place.start : place.start + place.nbytes]
    memory = _native.Memory._open(place.handle)
    if place.is_private:
        return memoryview(_native.Private(memory, place.start, place.nbytes))
    return memoryview(memory)[place.start : place.start + place.nbytes]
