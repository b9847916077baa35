"""Jobs: what one call asked of the pool, and how its results reach whoever waits for them.

The collector gives a job its results, one task or many in a row at a time; everything else
here runs in the caller's threads.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from multiprocessing import TimeoutError
from multiprocessing import pool as standard
from typing import Any, TypeVar

from procession._base import log
from procession._work.common import Common
from procession._work.options import DEFAULT, Options
from procession._work.progress import Meter
from procession._work.worker import CALLS, ITEMS

T = TypeVar("T")
_numbers = count()


class Job:
    """Tasks of one kind with one function, or calls with a function each."""

    kind = CALLS
    function: Any = None
    options: Options = DEFAULT
    chunk = 1
    """How many tasks count as one for `maxtasksperchild`."""
    number: int
    cancelled: BaseException | None = None
    """Why it is to have no results."""
    _pickled: bytes | None = None
    _enclosed: list[Any] | None = None
    """The shared objects that the function refers to."""
    _attempts: dict[int, int] | None = None
    _engine: Any = None
    _meter: Meter | None = None
    prepared: tuple[bytes, Any] | None = None
    """The message with its only task, and what is to live until that is answered, made by its caller."""
    common: Common | None = None
    """What its items have in common."""

    def join_engine(self, engine: Any) -> None:
        """Be one of the engine's jobs, until `_leave_engine`."""
        self.number = next(_numbers)
        self._engine = engine  # a handler that raises before leaves no engine that looks for one
        engine.jobs[self.number] = self

    def _leave_engine(self) -> None:
        engine = self._engine
        if engine is not None:
            self._engine = None
            engine.jobs.pop(self.number, None)
        if self.kind != CALLS:
            self.common = self._enclosed = None
        if self.prepared is not None:
            self.prepared = None
        if self._meter is not None:
            self._meter.close()

    def begins(self, first: int) -> bool:  # noqa: ARG002
        """A task is about to be given to a worker; false: it has been cancelled."""
        return True

    def answered(self, first: int, values: Sequence[Any]) -> None:
        """Tasks from `first` on have these results."""
        raise NotImplementedError

    def failed(self, first: int, error: BaseException, tasks: int = 1) -> None:
        """Tasks from `first` on have this error."""
        raise NotImplementedError

    def fail_rest(self, error: BaseException) -> None:
        """No further task will have a result."""
        raise NotImplementedError

    def may_try_again(self, task: int, died: bool) -> bool:
        """Whether a task that failed is to be run again; it counts."""
        most = self.options.attempts_after(died)
        if not most or self.cancelled is not None:
            return False
        if self._attempts is None:
            self._attempts = {}
        tried = self._attempts.get(task, 0)
        self._attempts[task] = tried + 1
        return tried < most


def _call_back(callback: Callable[[Any], object], value: Any) -> None:
    try:
        callback(value)
    except Exception as error:  # noqa: BLE001  a callback is anybody's code, and the pool goes on
        log.error(f"a pool's callback {callback!r} failed", error)


class Unheard:
    """An error until somebody asks for it: the log hears it when its result is dropped before that.

    Results themselves have no `__del__`: a signal that comes in one raises into nothing, and Ctrl-C would be lost.
    """

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error

    def __del__(self) -> None:
        if self.error is not None:
            log.error("a task failed, and nobody asked for its result", self.error)


class ApplyResult(Job, standard.ApplyResult[T]):
    """The result of one call, as soon as there is one."""

    __module__ = "procession.pool"
    _gates: list[Any] | None = None
    """A lock for each of those who wait. A signal's handler may raise out of any step of theirs: the collector never
    waits for what they hold, as it would for the lock in an Event."""
    _is_ready = _is_fetched = False
    _success: bool | None = None
    _value: Any = None
    _unheard: Unheard | None = None
    _callback: Callable[[Any], object] | None = None
    _error_callback: Callable[[BaseException], object] | None = None

    def __init__(
        self,
        pool: Any,
        callback: Callable[[T], object] | None,
        error_callback: Callable[[BaseException], object] | None,
        *,
        options: Options = DEFAULT,
    ) -> None:
        self._pool = pool
        if callback is not None:
            self._callback = callback
        if error_callback is not None:
            self._error_callback = error_callback
        if options is not DEFAULT:
            self.options = options

    def ready(self) -> bool:
        """Whether there is a result, or an error."""
        return self._is_ready

    def successful(self) -> bool:
        """Whether the call returned; ValueError while that is not known."""
        if not self._is_ready:
            raise ValueError(f"{self!r} not ready")
        return bool(self._success)

    def wait(self, timeout: float | None = None) -> None:
        """Wait until there is a result, or the timeout has passed."""
        if self._is_ready:
            return
        gates: list[Any] = self._gates or vars(self).setdefault("_gates", [])  # one list for all threads
        gate = threading.Lock()
        gate.acquire()
        try:
            gates.append(gate)
            if self.ready():  # it came before the gate did
                return
            if timeout is None:
                gate.acquire()
            else:
                gate.acquire(timeout > 0, timeout if timeout > 0 else -1)
        finally:
            with suppress(ValueError):
                gates.remove(gate)

    def get(self, timeout: float | None = None) -> T:
        """The call's result; raises what the call raised.

        `TimeoutError` when there is none after `timeout` seconds, and `WorkerDiedError`
        when the process that ran it died. Its own remote traceback is an error's cause.
        """
        if not self._is_ready:
            try:
                self.wait(timeout)
            except BaseException:
                self._hear()  # Ctrl-C: the program knows, and asks no more
                raise
            if not self._is_ready:
                raise TimeoutError
        self._hear()
        if self._success:
            return self._value  # type: ignore[no-any-return]
        try:
            raise self._value
        finally:
            del self

    def cancel(self) -> bool:
        """End the call: before it begins, or while it runs, as `timeout=` would. False when it has a result already.

        `get()` then raises TaskCancelledError. The other tasks of its worker are not touched.
        """
        engine = self._engine
        if self._is_ready or engine is None:
            return False
        engine.cancel(self)
        return True

    def answered(self, first: int, values: Sequence[Any]) -> None:  # noqa: ARG002
        self._finish(True, values[0])

    def failed(self, first: int, error: BaseException, tasks: int = 1) -> None:  # noqa: ARG002
        self._finish(False, error)

    def fail_rest(self, error: BaseException) -> None:
        if not self._is_ready:
            self._is_fetched = True  # the program has ended the pool, and knows
            self._finish(False, error)

    def _finish(self, success: bool, value: Any) -> None:
        self._success, self._value = success, value
        if success:
            if self._callback is not None:
                _call_back(self._callback, value)
        elif self._error_callback is not None:
            self._is_fetched = True
            _call_back(self._error_callback, value)
        elif not self._is_fetched and isinstance(value, Exception):
            self._unheard = Unheard(value)
        self._is_ready = True
        for gate in list(self._gates or ()):
            gate.release()
        self._leave_engine()
        self._pool = None

    def _hear(self) -> None:
        """The program has asked for the result, or will not."""
        self._is_fetched = True
        if self._unheard is not None:
            self._unheard.error = None


AsyncResult = ApplyResult


class MapResult(ApplyResult[list[T]], standard.MapResult[T]):
    """The list of a map's results, when all are there."""

    __module__ = "procession.pool"
    kind = ITEMS
    _chunksize = 1
    """What programs multiply `_number_left` with: that counts tasks here."""

    def __init__(
        self,
        pool: Any,
        chunksize: int,
        length: int,
        callback: Callable[[list[T]], object] | None,
        error_callback: Callable[[BaseException], object] | None,
        *,
        options: Options = DEFAULT,
    ) -> None:
        super().__init__(pool, callback, error_callback, options=options)
        self._success = True
        self._value = [None] * length
        self._number_left = length
        self.chunk = max(chunksize, 1)
        self._meter = Meter.of(options.progress, length)
        if length == 0:
            self._is_ready = True
            if callback is not None:
                _call_back(callback, self._value)
            self._pool = None
            if self._meter is not None:
                self._meter.close()

    def answered(self, first: int, values: Sequence[Any]) -> None:
        if self._success:
            self._value[first : first + len(values)] = values
        self._count(len(values))

    def failed(self, first: int, error: BaseException, tasks: int = 1) -> None:  # noqa: ARG002
        if self._success:  # the first error is the map's
            self._success, self._value = False, error
        self._count(tasks)

    def fail_rest(self, error: BaseException) -> None:
        if not self._is_ready:
            self._is_fetched = True
            self.failed(0, error, self._number_left)

    def _count(self, tasks: int) -> None:
        self._number_left -= tasks
        if self._meter is not None:
            self._meter.advance(tasks)
        if self._number_left == 0:
            self._finish(bool(self._success), self._value)
