"""What a worker needs for some messages and results: those that are large, that share memory, or that failed."""

import pickle
from functools import partial
from typing import Any

from procession import _native
from procession._work import desk as records
from procession._work import parcel
from procession._work.desk import Desk
from procession._work.outcome import encoding_error, pickle_error, short_error

_pack = partial(parcel.pack, references=1)


class Answers:
    """How a worker's results travel that are not plain."""

    find = staticmethod(parcel.find)
    short_error = staticmethod(short_error)

    def __init__(self, desk: Desk, is_executor: bool) -> None:
        self._desk, self._is_executor = desk, is_executor
        self._nonce = desk._handle()[0]
        self.lent: object = None
        """What the last result refers to, until the parent has it."""

    def encode(self, value: object) -> tuple[int, bytes]:
        """How a task's result travels that is not plain."""
        try:
            packed, enclosed = _native.gather(_pack, value, self._nonce, parcel.MANY)
            if enclosed:
                return self._carry(packed, enclosed, records.CARRIED)
            return self._wrap(self._lending(packed, value), 0, records.LARGE)
        except Exception as error:  # noqa: BLE001  pickling runs anybody's code
            if self._is_executor:
                return self.fail(error)
            pickled = pickle_error(encoding_error(error, value), with_traceback=False)
            return self._wrap(parcel.Parcel(pickled, []), records.ERROR, records.LARGE_ERROR)

    def _lending(self, packed: parcel.Parcel, value: object) -> parcel.Parcel:
        """A result's parcel; one array that lies in the arena is the parent's, too, before the result is put down."""
        for buffer in packed.buffers:
            if isinstance(buffer, parcel.Reference) and not self._desk.lend(buffer.memory._handle(), 1):
                # The parent has it, and might drop it before it opens this.
                return parcel.pack(value, references=0)
        return packed

    def fail(self, error: BaseException) -> tuple[int, bytes]:
        """How a task's error travels."""
        to_pickle = partial(pickle_error, with_traceback=not _is_relayed(error))
        pickled, enclosed = _native.gather(to_pickle, error, self._nonce, parcel.MANY)
        packed = parcel.Parcel(pickled, [])
        if enclosed:
            return self._carry(packed, enclosed, records.CARRIED_ERROR)
        return self._wrap(packed, records.ERROR, records.LARGE_ERROR)

    def _carry(self, packed: parcel.Parcel, enclosed: list[Any], kind: int) -> tuple[int, bytes]:
        """A record of what refers to shared objects: a queue holds them, the parent's, too, before it is put down."""
        self.lent = None
        self.lent = queue = parcel.carry(packed, enclosed)
        handle = queue._handle()
        self._desk.lend(handle, 0)
        return kind, pickle.dumps(handle)

    def _wrap(self, packed: parcel.Parcel, small: int, large: int) -> tuple[int, bytes]:
        """A record of either kind; a large one's memory is the parent's, too, before it is put down."""
        self.lent = None
        if packed.is_small():
            return small, packed.pickled
        sent, memories = parcel.store(packed)
        self.lent = memories
        self._desk.lend(memories[0]._handle(), 0)
        return large, sent


def _is_relayed(error: BaseException) -> bool:
    """Whether it was raised elsewhere and only passes through: its traceback here says nothing."""
    frames = error.__traceback__
    while frames is not None:
        if frames.tb_frame.f_code.co_name == "_helper_reraises_exception":
            return True
        frames = frames.tb_next
    return False
