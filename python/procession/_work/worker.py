"""What a pool's worker does: take a message, run its tasks, put each result down before the next begins.

A new interpreter loads this module before it can do anything, and pays for each that it brings. What
only some messages and results need is in `answers.py`, which it loads when it meets the first of them.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import sys
import threading
from _pickle import dumps, loads
from functools import lru_cache, partial
from multiprocessing import process, util
from types import BuiltinFunctionType, FunctionType, ModuleType

from procession._work import desk as records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import FrameType
    from typing import Any, Final

    from procession._work.answers import Answers
    from procession._work.desk import Bell, Desk
    from procession._work.last_words import LastWords

STOP: Final = b""
"""The message after which a worker leaves."""
STACK_SIGNAL: Final = _signal.SIGRTMIN + 13
"""Asks a worker that is about to be killed where its threads are: the interpreter needs not be able to answer for that."""
CALLS, ITEMS, STARRED = 0, 1, 2
"""What the items of a message are: calls, the one argument each, the tuple of arguments each."""
APART: Final = 4
"""Added to that: the items come in pickles of their own, so that no task sees what another did to its arguments."""
PLAIN: Final = frozenset([type(None), bool, int, float, complex, str, bytes])
"""Types of what cannot be changed, and so may be one thing for several tasks."""
CANNOT_IMPORT: Final = (ImportError, OSError, MemoryError)
"""A task may have left no descriptor to open a module with, and what failed is told all the same."""


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


def _call(call: tuple[Callable[..., object], Sequence[Any], dict[str, Any]]) -> object:
    function, args, kwds = call
    return function(*args, **kwds)


@lru_cache(maxsize=32)
def _find_function(pickled: bytes) -> Callable[..., object] | None:
    """A function that is the same for all its calls; None: it may have state."""
    function = loads(pickled)
    if isinstance(function, partial):
        values = (*function.args, *function.keywords.values())
        return function if PLAIN.issuperset(map(type, values)) and _is_stateless(function.func) else None
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
            self._function, self._left = loads(self._pickled), self._chunk
        self._left -= 1
        return self._function(*args)


class _Worker:
    def __init__(self, desk: Desk, bell: Bell, is_executor: bool) -> None:
        self._is_executor = is_executor
        self._pid = os.getpid()
        self._desk, self._ring = desk, bell.ring
        self._made: Answers | None = None
        self._tells_stacks = False

    def live(self, initializer: Callable[..., object] | None, initargs: Iterable[Any]) -> None:
        process.current_process()._may_have_children = True  # type: ignore[attr-defined]
        if threading.current_thread() is threading.main_thread() and (
            _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
        ):
            _signal.signal(_signal.SIGINT, self._interrupted)
        if initializer is not None:
            try:
                initializer(*initargs)
            except BaseException as error:
                if self._is_executor:
                    _module("logging").getLogger("concurrent.futures").critical(
                        "Exception in initializer:", exc_info=True
                    )
                self._tell(0, 0, records.FAILED_TO_START, self._short_error(error))
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
        _module("faulthandler").register(STACK_SIGNAL, fd, all_threads=True)
        self._tell(self._desk.answered, 0, records.STACKS, b"%d" % fd)

    def _tell(self, first: int, count: int, kind: int, payload: bytes) -> None:
        self._desk.tell(first, count, kind, payload, self._ring)

    def _answer(self, first: int, count: int, message: bytes) -> bool:
        """Run a message's tasks; false when the worker is to leave."""
        try:
            kind, function, items, is_timed = self._open(message)
        except BaseException as error:  # noqa: BLE001  unpickling runs anybody's code
            return self._refuse(first, count, self._short_error(error))
        if is_timed and not self._tells_stacks:
            self._tell_stacks()
        done, idle = 0, False
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
                )
            except BaseException as error:  # a signal's handler raised between two tasks
                if os.getpid() != self._pid:
                    _module("procession._work.stray").end(error)
                begun, _ = self._desk.claims()
                if begun != self._desk.answered:
                    self._tell((begun - 1) & 0xFFFFFFFF, 1, *self._fail(error))
                if not isinstance(error, Exception) and not isinstance(error, KeyboardInterrupt):
                    raise
                began = (begun - first) & 0xFFFFFFFF
                if idle and began == done:
                    raise  # no handler's, then: it would go on so for ever
                done, idle = began, began == done
            else:
                if not stays and os.getpid() != self._pid:
                    _module("procession._work.stray").end(None)
                return stays
            finally:
                if self._made is not None:
                    self._made.lent = None
        return True

    def _refuse(self, first: int, count: int, reason: bytes) -> bool:
        """Answer each task of a message that cannot be unpickled."""

        def refuse(_: int) -> None:
            raise ValueError

        def answer(_: BaseException) -> tuple[int, bytes]:
            return records.NOT_UNDERSTOOD, reason

        return self._desk.run(first, range(count), refuse, False, self._encode, answer, self._ring)

    def _open(self, message: bytes) -> tuple[int, Callable[..., object], Sequence[Any], bool]:
        is_large, content = message[0], message[1:]
        pickled, buffers = self._answers().find(content) if is_large else (content, iter(()))
        kind, function, items, is_timed, chunk = loads(pickled, buffers=buffers)
        if kind & APART:
            kind -= APART
            items = [item for group in items for item in loads(group, buffers=buffers)]
        if kind == CALLS:
            return kind, _call, items, is_timed
        return kind, _find_function(function) or _Renewed(function, chunk), items, is_timed

    def _answers(self) -> Answers:
        if self._made is None:
            self._made = _module("procession._work.answers").Answers(self._desk, self._is_executor)
        return self._made

    def _encode(self, value: object) -> tuple[int, bytes]:
        return self._answers().encode(value)

    def _fail(self, error: BaseException) -> tuple[int, bytes]:
        try:
            answers = self._answers()
        except CANNOT_IMPORT:
            return records.ERROR, dumps(error)
        return answers.fail(error)

    def _short_error(self, error: BaseException) -> bytes:
        try:
            answers = self._answers()
        except CANNOT_IMPORT:
            return dumps(error)
        return answers.short_error(error)


def _module(name: str) -> Any:
    __import__(name)
    return sys.modules[name]
