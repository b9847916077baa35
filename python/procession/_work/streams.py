"""Streams: the jobs behind `imap`, whose results are taken one by one as they come."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing import TimeoutError
from multiprocessing import pool as standard
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from procession._work.jobs import Job
from procession._work.options import DEFAULT, Options
from procession._work.progress import Meter
from procession._work.worker import ITEMS

T = TypeVar("T")

if TYPE_CHECKING:
    from multiprocessing.pool import IMapIterator as _InOrder
    from multiprocessing.pool import IMapUnorderedIterator as _AsTheyCome
else:  # generic in the stubs alone

    class _InOrder(standard.IMapIterator, Generic[T]):
        pass

    class _AsTheyCome(standard.IMapUnorderedIterator, Generic[T]):
        pass


class StreamJob(Job):
    """Results as they come, in order or not, of items that are drawn as they are needed."""

    kind = ITEMS

    def __init__(self, function: Callable[..., object] | None, is_ordered: bool, options: Options) -> None:
        self.function, self.options, self._is_ordered = function, options, is_ordered
        self.condition = threading.Condition(threading.Lock())
        self._items: deque[tuple[bool, Any]] = deque()
        self._early: dict[int, tuple[bool, Any]] = {}
        self._next = 0
        self._length: int | None = None
        self._drawn = self._taken = self._there = 0
        self._is_abandoned = False
        self._last: tuple[int, BaseException] | None = None
        """What ended the drawing, after how many items."""
        self._meter = Meter.of(options.progress, None)

    # ---- the collector's side ----

    def answered(self, first: int, values: Sequence[Any]) -> None:
        self._arrive(first, [(True, value) for value in values])

    def failed(self, first: int, error: BaseException, tasks: int = 1) -> None:
        self._arrive(first, [(False, error)] * tasks)

    def fail_rest(self, error: BaseException) -> None:
        with self.condition:
            self._is_abandoned = True
            if self._length is None or self._there < self._length:
                self._items.append((False, error))
                self._length = self._taken + len(self._items)
                self._there = self._length
                self._next = self._length
            self.condition.notify_all()
        self._leave_engine()

    def _arrive(self, first: int, results: list[tuple[bool, Any]]) -> None:
        with self.condition:
            self._there += len(results)
            if not self._is_abandoned:
                self._sort_in(first, results)
                self.condition.notify_all()
            is_over = self._there == self._length
        if self._meter is not None:
            self._meter.advance(len(results))
        if is_over:
            self._leave_engine()
        self._end_if_due()

    def _end_if_due(self) -> None:
        with self.condition:
            if self._last is None or self._there != self._last[0]:
                return
            (drawn, error), self._last = self._last, None
        self._arrive(drawn, [(False, error)])

    def _sort_in(self, first: int, results: list[tuple[bool, Any]]) -> None:
        if not self._is_ordered:
            self._items.extend(results)
        elif first == self._next and not self._early:
            self._items.extend(results)
            self._next += len(results)
        else:
            self._early.update(enumerate(results, first))
            while self._next in self._early:
                self._items.append(self._early.pop(self._next))
                self._next += 1

    # ---- the drawing thread's side ----

    def wait_for_room(self, more: int) -> bool:
        """Wait until `more` items may be drawn; false when nobody wants them any more."""
        bound = self.options.buffersize
        with self.condition:
            while bound is not None and not self._is_abandoned and self._drawn + more - self._taken > bound:
                self.condition.wait()
            self._drawn += more
            return not self._is_abandoned

    def break_off(self, drawn: int, error: BaseException) -> None:
        """Drawing has failed after that many items: the error comes after all their results."""
        with self.condition:
            self._last = drawn, error
        self._end_if_due()

    def set_length(self, length: int) -> None:
        """No more items than that."""
        with self.condition:
            if self._engine is None:  # the pool has ended before
                return
            self._length = length
            is_over = self._there == length
            self.condition.notify_all()
        if is_over:
            engine = self._engine
            self._leave_engine()
            engine.rouse()

    @property
    def has_stalled(self) -> bool:
        """Whether it waits for nothing but its reader."""
        with self.condition:
            bound = self.options.buffersize
            return bound is not None and self._length is None and self._there - self._taken >= bound

    # ---- the reader's side ----

    def take(self, timeout: float | None, too_late: type[Exception] = TimeoutError) -> Any:
        """The next result; raises `too_late` when there is none in time."""
        with self.condition:
            if not self._items and self._taken != self._length:
                self.condition.wait_for(lambda: self._items or self._taken == self._length, timeout)
            if not self._items:
                if self._taken == self._length:
                    raise StopIteration
                raise too_late
            success, value = self._items.popleft()
            self._taken += 1
            if self.options.buffersize is not None:
                self.condition.notify_all()
        if success:
            return value
        raise value

    def abandon(self) -> None:
        """Nobody will take its results: draw no more, and forget what is there."""
        with self.condition:
            self._is_abandoned = True
            self._items.clear()
            self._early.clear()
            self.condition.notify_all()


class IMapIterator(_InOrder[T]):
    """A map's results, one by one, in the order of its items."""

    __module__ = "procession.pool"

    def __init__(self, pool: Any, *, job: StreamJob | None = None) -> None:
        self._stream, self._pool = job or StreamJob(None, True, DEFAULT), pool

    @property
    def _job(self) -> StreamJob:
        return self._stream

    def _set_length(self, length: int) -> None:
        self._stream.set_length(length)

    def __iter__(self) -> Self:
        return self

    def next(self, timeout: float | None = None) -> T:
        """The next result: raises what its task raised, TimeoutError, and at the end StopIteration."""
        try:
            return self._stream.take(timeout)  # type: ignore[no-any-return]
        except StopIteration:
            self._pool = None
            raise StopIteration from None

    __next__ = next  # noqa: A003

    def __del__(self) -> None:
        if (stream := self.__dict__.get("_stream")) is not None:
            stream.abandon()


class IMapUnorderedIterator(IMapIterator[T], _AsTheyCome[T]):
    """A map's results, one by one, as they come."""

    __module__ = "procession.pool"
