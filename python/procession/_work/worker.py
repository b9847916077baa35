"""What a pool's worker does: take a message, run its tasks, put each result down before the next begins."""

import faulthandler
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from importlib import import_module
from multiprocessing import process, util
from types import BuiltinFunctionType, FrameType, FunctionType, ModuleType
from typing import Any, Final

from procession import _native
from procession._work import desk as records
from procession._work import parcel, stray
from procession._work.desk import Bell, Desk
from procession._work.last_words import LastWords
from procession._work.outcome import encoding_error, pickle_error, short_error

STOP: Final = b""
"""The message after which a worker leaves."""
STACK_SIGNAL: Final = signal.SIGRTMIN + 13
"""Asks a worker that is about to be killed where its threads are: the interpreter needs not be able to answer for that."""
CALLS, ITEMS, STARRED = 0, 1, 2
"""What the items of a message are: calls, the one argument each, the tuple of arguments each."""
APART: Final = 4
"""Added to that: the items come in pickles of their own, so that no task sees what another did to its arguments."""


def work(
    desk: Desk,
    bell: Bell,
    words: LastWords,
    initializer: Callable[..., object] | None,
    initargs: Iterable[Any],
    is_executor: bool,
) -> None:
    """A worker's life."""
    words.keep()
    _Worker(desk, bell, is_executor).live(initializer, initargs)


_pack = partial(parcel.pack, references=1)


def _call(call: tuple[Callable[..., object], Sequence[Any], dict[str, Any]]) -> object:
    function, args, kwds = call
    return function(*args, **kwds)


@lru_cache(maxsize=32)
def _find_function(pickled: bytes) -> Callable[..., object] | None:
    """A function that is the same for all its calls; None: it may have state."""
    function = pickle.loads(pickled)
    if isinstance(function, partial):
        values = (*function.args, *function.keywords.values())
        return (
            function if parcel.PLAIN.issuperset(map(type, values)) and _is_stateless(function.func) else None
        )
    return function if _is_stateless(function) else None


def _is_stateless(function: object) -> bool:
    if isinstance(function, BuiltinFunctionType):
        return isinstance(function.__self__, (ModuleType, type))  # else it is a method
    return isinstance(function, (FunctionType, type))


class _Renewed:
    """A function that has state (a bound method, a partial) has it for one chunk of tasks, as the standard library's."""

    def __init__(self, pickled: bytes, chunk: int) -> None:
        self._pickled, self._chunk, self._left = pickled, chunk, 0

    def __call__(self, *args: Any) -> object:
        if not self._left:
            self._function, self._left = pickle.loads(self._pickled), self._chunk
        self._left -= 1
        return self._function(*args)


class _Worker:
    def __init__(self, desk: Desk, bell: Bell, is_executor: bool) -> None:
        self._is_executor = is_executor
        self._pid = os.getpid()
        self._desk, self._ring = desk, bell.ring
        self._nonce = desk._handle()[0]
        self._lent: object = None
        self._tells_stacks = False

    def live(self, initializer: Callable[..., object] | None, initargs: Iterable[Any]) -> None:
        process.current_process()._may_have_children = True  # type: ignore[attr-defined]
        if threading.current_thread() is threading.main_thread() and (
            signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            signal.signal(signal.SIGINT, self._interrupted)
        if initializer is not None:
            try:
                initializer(*initargs)
            except BaseException as error:
                if self._is_executor:
                    import_module("logging").getLogger("concurrent.futures").critical(
                        "Exception in initializer:", exc_info=True
                    )
                self._tell(0, 0, records.FAILED_TO_START, short_error(error))
                if not isinstance(error, (Exception, SystemExit)):
                    raise
                return
        self._tell(0, 0, records.READY, b"")
        del initializer, initargs
        while True:
            taken = self._desk.take()
            if taken is None:
                continue
            first, count, message = taken
            if message == STOP:
                util.debug("worker got its stop message -- exiting")
                return
            if not self._answer(first, count, message):
                util.debug("a task asked the worker to exit")
                return

    def _interrupted(self, _signum: int, _frame: FrameType | None) -> None:
        """SIGINT is the running task's business: without one, or meant for another one, it is nobody's."""
        begun, _ = self._desk.claims()
        if begun == self._desk.answered or self._desk.target not in (None, (begun - 1) & 0xFFFFFFFF):
            return
        raise KeyboardInterrupt

    def _tell_stacks(self) -> None:
        """Have the signal write all stacks into a file in memory, which the pool reads through /proc."""
        self._tells_stacks = True
        fd = os.memfd_create("procession-stacks")
        faulthandler.register(STACK_SIGNAL, fd, all_threads=True)
        self._tell(self._desk.answered, 0, records.STACKS, b"%d" % fd)

    def _tell(self, first: int, count: int, kind: int, payload: bytes) -> None:
        self._desk.tell(first, count, kind, payload, self._ring)

    def _answer(self, first: int, count: int, message: bytes) -> bool:
        """Run a message's tasks; false when the worker is to leave."""
        try:
            kind, function, items, is_timed = self._open(message)
        except BaseException as error:  # noqa: BLE001  unpickling runs anybody's code
            return self._refuse(first, count, short_error(error))
        if is_timed and not self._tells_stacks:
            self._tell_stacks()
        done = 0
        while done < count:
            try:
                stays = self._desk.run(
                    (first + done) & 0xFFFFFFFF,
                    items[done:] if done else items,
                    function,
                    kind == STARRED,
                    self._encode,
                    self._fail,
                    self._ring,
                    is_timed,
                )
            except BaseException as error:  # a signal's handler raised between two tasks
                if os.getpid() != self._pid:
                    stray.end(error)
                begun, _ = self._desk.claims()
                if begun != self._desk.answered:
                    self._tell((begun - 1) & 0xFFFFFFFF, 1, *self._fail(error))
                if not isinstance(error, Exception) and not isinstance(error, KeyboardInterrupt):
                    raise
                done = (begun - first) & 0xFFFFFFFF
            else:
                if not stays and os.getpid() != self._pid:
                    stray.end(None)
                return stays
            finally:
                self._lent = None
        return True

    def _refuse(self, first: int, count: int, reason: bytes) -> bool:
        """Answer each task of a message that cannot be unpickled."""

        def refuse(_: int) -> None:
            raise ValueError

        def answer(_: BaseException) -> tuple[int, bytes]:
            return records.NOT_UNDERSTOOD, reason

        return self._desk.run(first, range(count), refuse, False, self._encode, answer, self._ring, False)

    def _open(self, message: bytes) -> tuple[int, Callable[..., object], Sequence[Any], bool]:
        is_large, content = message[0], message[1:]
        pickled, buffers = parcel.find(content) if is_large else (content, iter(()))
        kind, function, items, is_timed, chunk = pickle.loads(pickled, buffers=buffers)
        if kind & APART:
            kind -= APART
            items = [item for group in items for item in pickle.loads(group, buffers=buffers)]
        if kind == CALLS:
            return kind, _call, items, is_timed
        return kind, _find_function(function) or _Renewed(function, chunk), items, is_timed

    def _encode(self, value: object) -> tuple[int, bytes]:
        """How a task's result travels that is not plain."""
        try:
            packed, enclosed = _native.gather(_pack, value, self._nonce, parcel.MANY)
            if enclosed:
                return self._carry(packed, enclosed, records.CARRIED)
            return self._wrap(self._lending(packed, value), 0, records.LARGE)
        except Exception as error:  # noqa: BLE001  pickling runs anybody's code
            if self._is_executor:
                return self._fail(error)
            pickled = pickle_error(encoding_error(error, value), with_traceback=False)
            return self._wrap(parcel.Parcel(pickled, []), records.ERROR, records.LARGE_ERROR)

    def _lending(self, packed: parcel.Parcel, value: object) -> parcel.Parcel:
        """A result's parcel; one array that lies in the arena is the parent's, too, before the result is put down."""
        for buffer in packed.buffers:
            if isinstance(buffer, parcel.Reference) and not self._desk.lend(buffer.memory._handle(), 1):
                # The parent has it, and might drop it before it opens this.
                return parcel.pack(value, references=0)
        return packed

    def _fail(self, error: BaseException) -> tuple[int, bytes]:
        """How a task's error travels."""
        to_pickle = partial(pickle_error, with_traceback=not _is_relayed(error))
        pickled, enclosed = _native.gather(to_pickle, error, self._nonce, parcel.MANY)
        packed = parcel.Parcel(pickled, [])
        if enclosed:
            return self._carry(packed, enclosed, records.CARRIED_ERROR)
        return self._wrap(packed, records.ERROR, records.LARGE_ERROR)

    def _carry(self, packed: parcel.Parcel, enclosed: list[Any], kind: int) -> tuple[int, bytes]:
        """A record of what refers to shared objects: a queue holds them, the parent's, too, before it is put down."""
        self._lent = None
        self._lent = queue = parcel.carry(packed, enclosed)
        handle = queue._handle()
        self._desk.lend(handle, 0)
        return kind, pickle.dumps(handle)

    def _wrap(self, packed: parcel.Parcel, small: int, large: int) -> tuple[int, bytes]:
        """A record of either kind; a large one's memory is the parent's, too, before it is put down."""
        self._lent = None
        if packed.is_small():
            return small, packed.pickled
        sent, memories = parcel.store(packed)
        self._lent = memories
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
