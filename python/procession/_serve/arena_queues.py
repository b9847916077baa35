"""Queue and JoinableQueue of a manager, in the arena: both know of unfinished tasks, as queue.Queue does.

A `JoinableQueue` is procession's, which keeps who has what. A `Queue` only counts, since most of its users never say
that a task is done:

    unfinished = puts of the queue - done       a put counts when its item is there, whoever is killed
"""

from collections.abc import Callable
from queue import Empty, Full
from typing import Any

from procession._serve.arena import SLICE, ArenaProxy, arena_kind
from procession._serve.proxies import MakeProxyType
from procession._shared.conditions import Condition
from procession._shared.containers.counters import Counter
from procession._shared.queues import JoinableQueue, Queue, ShutDown

# mypy: disable-error-code="override, misc, no-any-return, valid-type"

_METHODS = (
    "empty", "full", "get", "get_nowait", "join", "put", "put_nowait", "qsize", "shutdown", "task_done",
)  # fmt: skip
_QueueProxy: Any = MakeProxyType("AutoProxy[Queue]", _METHODS)
_JoinableQueueProxy: Any = MakeProxyType("AutoProxy[JoinableQueue]", _METHODS)


class _Queue(ArenaProxy):
    """What both have."""

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an item; queue.Full when there is no room, or none before the timeout."""
        self._repeat(Full, block, timeout, lambda seconds: self._here().put(item, block, seconds))

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """The next item; queue.Empty when there is none, or none before the timeout."""
        return self._repeat(Empty, block, timeout, lambda seconds: self._here().get(block, seconds))

    def _repeat(
        self,
        nothing: type[Exception],
        block: bool,
        timeout: float | None,
        attempt: Callable[[float | None], Any],
    ) -> Any:
        if block and timeout is not None and timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")
        try:
            if not block or timeout is not None:
                return attempt(timeout)
            while True:
                try:
                    return attempt(SLICE)
                except nothing:
                    pass
        except ShutDown:
            self._here()
            raise

    def put_nowait(self, item: Any) -> None:
        """put(item, block=False)."""
        self.put(item, False)

    def get_nowait(self) -> Any:
        """get(block=False)."""
        return self.get(False)

    def qsize(self) -> int:
        """How many items there are."""
        return self._here().qsize()

    def empty(self) -> bool:
        """Whether there is no item now."""
        return self._here().empty()

    def full(self) -> bool:
        """Whether there is no room now."""
        return self._here().full()

    def shutdown(self, immediate: bool = False) -> None:
        """Nobody puts any more, and whoever gets when it is empty gets ShutDown; `immediate`: it is empty now."""
        self._here().shutdown()
        while immediate:
            try:
                self._referent.get(False)
            except (Empty, ShutDown):
                return
            self.task_done()

    def task_done(self) -> None:
        """What somebody has got is finished."""
        raise NotImplementedError

    def _shut(self) -> None:
        self._referent.shutdown(True)


@arena_kind
class ArenaQueue(_Queue, _QueueProxy):
    """A queue."""

    _typeid = "Queue"

    @staticmethod
    def _prepare(maxsize: int = 0) -> tuple[Any, ...]:
        return Queue(maxsize), Counter(), Condition()

    def _unfinished(self) -> int:
        done: Counter = self._rest[0]
        return self._referent._statistics()["puts"] - done.value

    def task_done(self) -> None:
        """One of the items that were put is finished; ValueError when all are."""
        self._here()
        done, changed = self._rest
        with changed:
            if self._unfinished() <= 0:
                raise ValueError("task_done() called too many times")
            done.add(1)
            if not self._unfinished():
                changed.notify_all()

    def join(self) -> None:
        """Wait until every item that was put is finished."""
        _done, changed = self._rest
        with changed:
            while self._here() is not None and self._unfinished():
                changed.wait(SLICE)  # who was to notify may have been killed


@arena_kind
class ArenaJoinableQueue(_Queue, _JoinableQueueProxy):
    """A queue that knows who has what: `join()` raises an OwnerDiedError instead of waiting for the dead."""

    _typeid = "JoinableQueue"

    @staticmethod
    def _prepare(maxsize: int = 0) -> tuple[Any, ...]:
        return (JoinableQueue(maxsize),)

    def task_done(self) -> None:
        """The oldest item that this process has got is finished; ValueError when none is unfinished."""
        self._here().task_done()

    def join(self) -> None:
        """Wait until every item that was put is finished."""
        self._here()._join(self._life)
        self._here()
