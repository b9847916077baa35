"""`Queue`, `JoinableQueue` and `SimpleQueue`: what was put is there when put() returns, and stays there whoever dies.

put() and get() are the core's own (`crates/procession-py/src/queue.rs`). There is no feeder thread and no pipe: an
object is pickled by the process that puts it, an error raised there, and its bytes lie in shared memory until somebody
gets them.

A queue that is `shutdown()` ends: consumers get what is there, then `ShutDown`; `for item in q` ends then. With
`producers=N` it ends by itself, when the last of N producers has left or died.
"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import index
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, Self, TypeVar

from procession import _native
from procession._base.errors import ConsumerDiedError
from procession._shared import handles, queue_ends
from procession._shared.locks import Lock
from procession._shared.subclassing import Subclassable

if TYPE_CHECKING:
    from procession._shared.statistics import QueueStatistics

if sys.version_info >= (3, 13):
    from queue import ShutDown
else:

    class ShutDown(Exception):  # the name that Python 3.13 gave it
        """The queue has been shut down: nothing more can be put, and nothing more will come."""

        __module__ = "procession.queues"


T = TypeVar("T")

UNBOUNDED: Final = 2**31 - 1  # what `_maxsize` of a queue without a bound is in the standard library
_CLOSED: Final = 4  # of `_closed_ends`: closed as a whole, besides 1 and 2 for its ends


def _bound_of(maxsize: Any) -> int:
    """The core's bound: 0 for none."""
    return max(index(maxsize), 0)


def _count_of(producers: int | None) -> int:
    """The core's count of expected producers: 0 for a stream that nobody's leaving ends."""
    if producers is None:
        return 0
    if index(producers) < 1:
        raise ValueError(f"producers must be at least 1: {producers}")
    return index(producers)


def _most_of(deliveries: int | None, redeliver: bool, dead_letter: object) -> int:
    """The core's most deliveries: 0 for any number."""
    if not redeliver and (deliveries is not None or dead_letter is not None):
        raise ValueError("max_deliveries and dead_letter are for a queue with redeliver=True")
    if dead_letter is not None and not isinstance(dead_letter, _native.Queue):
        raise TypeError(f"dead_letter must be a queue of procession's: {dead_letter!r}")
    if deliveries is None:
        return 0
    if index(deliveries) < 1:
        raise ValueError(f"max_deliveries must be at least 1: {deliveries}")
    return index(deliveries)


class _Ends:
    """The private names by which code of the standard library's uses a queue as a locked pipe."""

    @property
    def _reader(self: Any) -> queue_ends.Reader:
        return queue_ends.Reader(self)

    @property
    def _writer(self: Any) -> queue_ends.Writer:
        return queue_ends.Writer(self)

    @property
    def _rlock(self: Any) -> Lock:
        """A lock that nobody waits for while he gets: whoever has it may drain the queue."""
        lock: Lock = self._lock_of("_reading")
        return lock

    @property
    def _wlock(self: Any) -> Lock:
        lock: Lock = self._lock_of("_writing")
        return lock

    def _lock_of(self, name: str) -> Lock:
        lock: Lock = vars(self).setdefault(name, Lock())
        return lock

    def _give(self: Any, obj: Any) -> None:
        """put(), whatever a subclass makes of it."""
        _native.Queue.put(self, obj)

    def _take(self: Any) -> Any:
        """get(), whatever a subclass makes of it."""
        return _native.Queue.get(self)


@_native.fast_methods
class Queue(_native.Queue[T], _Ends, Subclassable, face=True):
    """A queue of objects between processes: first in, first out, whoever puts and whoever gets.

    `put()` pickles in the caller and raises what cannot be sent; when it returns the item is
    there, and stays there when its producer dies. An item that a consumer has got dies with
    it (`JoinableQueue(redeliver=True)` gives it to another). Nobody is left waiting because
    somebody died. Waiting ends with Ctrl-C. Lives in shared memory: a forked child has it,
    and it can be pickled at any time, put into a queue, given to a pool. `producers=N`: the
    stream ends when the last of N producers has left (see `producer()`).
    """

    __module__ = "procession.queues"
    _ignore_epipe = False  # concurrent.futures sets it: there is no pipe

    def __new__(
        cls,
        maxsize: int = 0,
        *,
        ctx: object = None,  # noqa: ARG004  the standard library's signature
        producers: int | None = None,
        _handle: handles.Handle | None = None,
    ) -> Self:
        return cls._make(maxsize, producers, _handle)

    def __init__(
        self,
        maxsize: int = 0,
        *,
        ctx: object = None,  # noqa: ARG002  the standard library's signature
        producers: int | None = None,
    ) -> None:
        if self._is_blank:
            self._configure(_bound_of(maxsize), _count_of(producers))

    @classmethod
    def _make_blank(cls, handle: handles.Handle | None, /) -> Self:
        return cls._make(0, None, handle)

    @classmethod
    def _make(cls, maxsize: int, producers: int | None, handle: handles.Handle | None) -> Self:
        return _native.Queue.__new__(cls, _bound_of(maxsize), _count_of(producers), _handle=handle)

    def put_nowait(self, obj: T) -> None:
        """put(obj, block=False): raise queue.Full at once where there is no room."""
        self.put(obj, False)

    def get_nowait(self) -> T:
        """get(block=False): raise queue.Empty at once where there is nothing."""
        return self.get(False)

    def put_many(self, items: Iterable[T], block: bool = True, timeout: float | None = None) -> None:
        """Put all the items, in their order; as many at a time as there is room for.

        All are pickled before the first is put. queue.Full when they are not all in before
        the timeout: the first ones may be.
        """
        if self._closed:
            self._refuse()
        self._put_many(items, block, timeout)

    def get_many(
        self, max_items: int | None = None, block: bool = True, timeout: float | None = None
    ) -> list[T]:
        """At least one item, waiting for it as get() does, and as many more as are there (at most `max_items`).

        Of items that cannot be unpickled the others are returned; the error of each is raised by one of
        the next calls that get something, or by this one when there is nothing to return.
        """
        if self._closed:
            self._refuse()
        if max_items is not None and index(max_items) < 1:
            raise ValueError(f"max_items must be at least 1: {max_items}")
        return self._get_many(max_items, block, timeout)

    def __iter__(self) -> Iterator[T]:
        """Get items until the queue is shut down and empty."""
        try:
            while True:
                yield self.get()
        except ShutDown:
            return

    @contextmanager
    def producer(self) -> Iterator[Self]:
        """Be one of the producers that `producers=N` waits for, until the block ends, or this process.

        When N have come and all have left, or died, the queue is shut down: consumers get what
        is there, and their streams end.
        """
        self._add_producer()
        try:
            yield self
        finally:
            self._remove_producer()

    def close(self) -> None:
        """This process puts and gets no more. What was put stays, and others go on."""
        self._close_ends(queue_ends.READER | queue_ends.WRITER | _CLOSED)

    def empty(self) -> bool:
        """Whether there is no item now; OSError when this process has closed a queue that was in use."""
        if self._closed and self._statistics()["puts"]:
            raise OSError("handle is closed")
        return _native.Queue.empty(self)

    def join_thread(self) -> None:
        """Nothing to wait for: what was put is there. For programs of the standard library's; close() first."""
        if not self._closed:
            raise AssertionError(f"Queue {self!r} not closed")

    def cancel_join_thread(self) -> None:
        """Nothing to cancel: see join_thread()."""

    def statistics(self) -> "QueueStatistics":
        """Figures of this queue, over all processes."""
        from procession._shared.statistics import QueueStatistics  # noqa: PLC0415  see locks.py

        return QueueStatistics(**self._statistics())

    @property
    def _maxsize(self) -> int:
        return self._bound or UNBOUNDED

    @property
    def _closed(self) -> bool:
        return bool(self._closed_ends & _CLOSED)

    def _refuse(self) -> NoReturn:
        """What the core calls when this process has closed the queue, or the end that it wants."""
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")
        raise OSError("handle is closed")

    def _refused(self, error: Exception, obj: object) -> bool:
        """What the core calls when an item cannot be pickled; false: raise the error."""
        if type(self)._on_queue_feeder_error is Queue._on_queue_feeder_error:
            return False
        self._on_queue_feeder_error(error, obj)
        return True

    @staticmethod
    def _on_queue_feeder_error(e: Exception, obj: object) -> None:
        """Called instead of raising what put() raises, where a subclass overrides it (concurrent.futures does)."""

    def _terminate_broken(self) -> None:
        """concurrent.futures closes the queue of a pool that has broken by this name."""
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__} object at {id(self):#x}>"

    def __getstate__(self) -> Any:
        """Nothing: a queue is its handle. For subclasses that add to it, as to the standard library's."""
        return ()

    def __setstate__(self, state: Any) -> None:
        """Nothing: see `__getstate__`."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (*handles.reduce(self), self.__getstate__())


@_native.fast_methods
class JoinableQueue(Queue[T], face=True):
    """A queue whose consumers say when they have finished an item, so that `join()` can wait for all.

    `task_done()` acknowledges the oldest item that this process has got and not acknowledged.
    When a consumer dies with such items `join()` raises an OwnerDiedError. With
    `redeliver=True` they go back to the head of the queue instead, also when the consumer ends
    cleanly; `last_delivery` then says how often the item was delivered. An item that came
    back after `max_deliveries` deliveries goes to the queue `dead_letter`; without one it is dropped.
    """

    __module__ = "procession.queues"

    def __new__(
        cls,
        maxsize: int = 0,
        *,
        ctx: object = None,  # noqa: ARG004  the standard library's signature
        producers: int | None = None,
        redeliver: bool = False,
        max_deliveries: int | None = None,
        dead_letter: "Queue[T] | None" = None,
        _handle: handles.Handle | None = None,
    ) -> Self:
        made = _native.Queue.__new__(
            cls,
            _bound_of(maxsize),
            _count_of(producers),
            acknowledging=True,
            redelivering=redeliver,
            max_deliveries=_most_of(max_deliveries, redeliver, dead_letter),
            _handle=_handle,
        )
        if dead_letter is not None:
            made._set_dead_letter(dead_letter)
        return made

    def __init__(
        self,
        maxsize: int = 0,
        *,
        ctx: object = None,  # noqa: ARG002  the standard library's signature
        producers: int | None = None,
        redeliver: bool = False,
        max_deliveries: int | None = None,
        dead_letter: "Queue[T] | None" = None,
    ) -> None:
        if self._is_blank:
            self._configure(
                _bound_of(maxsize),
                _count_of(producers),
                redelivering=redeliver,
                max_deliveries=_most_of(max_deliveries, redeliver, dead_letter),
            )
            if dead_letter is not None:
                self._set_dead_letter(dead_letter)

    @classmethod
    def _make(cls, maxsize: int, producers: int | None, handle: handles.Handle | None) -> Self:
        return _native.Queue.__new__(
            cls, _bound_of(maxsize), _count_of(producers), acknowledging=True, _handle=handle
        )

    task_done = _native.Queue._task_done

    @property
    def last_delivery(self) -> int:
        """How often the item that this process got last has been delivered: 1 for the first time."""
        return self._last_delivery

    def join(self) -> None:
        """Wait until every item that was put is acknowledged.

        Raises an OwnerDiedError instead of waiting for the dead, when items are lost that
        nobody will deliver again.
        """
        self._join()

    def _join(self, end: _native.Counter | None = None) -> None:
        """The same, but no longer than `end` is 0."""
        died = self._wait_all_done(end)
        if died is not None:
            raise ConsumerDiedError(died)

    @contextmanager
    def taking(self, block: bool = True, timeout: float | None = None) -> Iterator[T]:
        """get() an item for a block, whose end acknowledges it; an exception gives it back to be delivered again.

        Where nothing is delivered again (no `redeliver=True`) it is acknowledged in either case.
        """
        item, delivery = self._get_delivery(block, timeout)
        try:
            yield item
        except BaseException:
            if not self._give_back(delivery):
                self._acknowledge(delivery)
            raise
        self._acknowledge(delivery)

    def __reduce__(self) -> tuple[Any, ...]:
        opener, arguments, state = super().__reduce__()
        return _open_joinable, (opener, arguments, self._dead_letter), state


def _open_joinable(opener: Any, arguments: tuple[Any, ...], dead_letter: Any) -> Any:
    queue = opener(*arguments)
    if dead_letter is not None:
        queue._set_dead_letter(dead_letter)
    return queue


@_native.fast_methods
class SimpleQueue(_native.Queue[T], _Ends, Subclassable, face=True):
    """A queue without a bound and with little besides `put(obj)`, `get()` and `empty()`.

    It promises what `Queue` does; see there.
    """

    __module__ = "procession.queues"
    _is_simple: ClassVar[bool] = True  # read by the core, which gives it the plainest put and get

    def __new__(
        cls,
        *,
        ctx: object = None,  # noqa: ARG004  the standard library's signature
        _handle: handles.Handle | None = None,
    ) -> Self:
        return cls._make_blank(_handle)

    def __init__(self, *, ctx: object = None) -> None:
        """All is done: there is nothing to choose."""

    @classmethod
    def _make_blank(cls, handle: handles.Handle | None, /) -> Self:
        return _native.Queue.__new__(cls, 0, 0, _handle=handle)

    def empty(self) -> bool:
        """Whether there is no item now."""
        if self._closed_ends & queue_ends.READER:
            self._refuse()
        return _native.Queue.empty(self)

    def close(self) -> None:
        """This process puts and gets no more. What was put stays, and others go on."""
        self._close_ends(queue_ends.READER | queue_ends.WRITER)

    def _refuse(self) -> NoReturn:
        raise OSError("handle is closed")

    def __getstate__(self) -> Any:
        """Nothing: a queue is its handle."""
        return ()

    def __setstate__(self, state: Any) -> None:
        """Nothing: see `__getstate__`."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (*handles.reduce(self), self.__getstate__())
