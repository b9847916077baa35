"""ProcessPoolExecutor: the interface of concurrent.futures over the engine."""

import concurrent.futures
import os
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from concurrent.futures import _base as states
from concurrent.futures.process import BrokenProcessPool, _RemoteTraceback
from multiprocessing import util
from operator import index
from time import monotonic
from typing import Any

from procession._base.cpus import cpus
from procession._base.errors import TaskCancelledError, WorkerDiedError
from procession._work.drawing import draw
from procession._work.engine import Engine
from procession._work.floor import RUN, TERMINATE, take_back
from procession._work.jobs import Job
from procession._work.options import DEFAULT
from procession._work.outcome import RemoteTraceback
from procession._work.promise import Promise
from procession._work.segments import Segment
from procession._work.streams import StreamJob
from procession._work.worker import STARRED


class WorkerDiedInExecutorError(WorkerDiedError, BrokenProcessPool):
    """A worker died; the future of the task that it ran is broken, and the executor goes on."""

    __module__ = "procession.errors"
    __qualname__ = __name__ = "WorkerDiedError"


class FutureJob(Job):
    """One call, whose result goes to a future."""

    def __init__(self, promise: Promise[Any]) -> None:
        self.future = promise

    def begins(self, first: int) -> bool:  # noqa: ARG002
        if self.future.begin():
            return True
        self._leave_engine()
        return False

    def try_cancel(self) -> bool:
        """Cancel the call, which has been taken back from whoever was to run it."""
        with self.future._condition:
            if self.future._state == states.RUNNING:
                self.future._state = states.PENDING
        if not self.future.cancel():
            return False
        self.future.set_running_or_notify_cancel()
        self._leave_engine()
        return True

    def answered(self, first: int, values: Any) -> None:  # noqa: ARG002
        self._leave_engine()
        self.future.finish(values[0])

    def failed(self, first: int, error: BaseException, tasks: int = 1) -> None:  # noqa: ARG002
        self._leave_engine()
        self.future.set_exception(as_remote(error))

    def fail_rest(self, error: BaseException) -> None:
        self._leave_engine()
        if self.future._state == states.RUNNING or self.future.set_running_or_notify_cancel():
            self.future.set_exception(as_broken(error))


def as_broken(error: BaseException) -> BaseException:
    """Why there will be no more results, as concurrent.futures says it."""
    if isinstance(error, BrokenProcessPool):
        return error
    broken = BrokenProcessPool(f"the executor runs no more tasks: {type(error).__name__}: {error}")
    broken.__cause__ = error
    return broken


def as_remote(error: BaseException) -> BaseException:
    """A task's error, its cause of the type that concurrent.futures gives it."""
    cause: Any = error.__cause__
    if type(cause) is RemoteTraceback:
        error.__cause__ = _RemoteTraceback(cause.tb)
    return error


class _MapJob(StreamJob):
    def failed(self, first: int, error: BaseException, tasks: int = 1) -> None:
        super().failed(first, as_remote(error), tasks)

    def fail_rest(self, error: BaseException) -> None:
        super().fail_rest(as_broken(error))


class _ExecutorEngine(Engine):
    died = WorkerDiedInExecutorError
    is_executor = True
    starts_on_demand = False

    def _first_workers(self) -> int:
        return 1 if self.starts_on_demand else self.floor.size

    def cancel_waiting(self) -> None:
        """Cancel all that has not begun."""
        self.request(self._cancel_waiting)

    def _cancel_waiting(self) -> None:
        if self.floor.broken is None:
            self._dispatch.feed()
        for hand in self.floor.hands.values():
            unbegun = hand.unbegun()
            if unbegun and unbegun == hand.ledger.count:
                unbegun -= 1  # who was given something does one of it, which is a running call
            take_back(self.floor, hand, unbegun)
        for segment in list(self.backlog):
            job = segment.job
            if not isinstance(job, FutureJob):
                job.cancelled = TaskCancelledError("the executor was shut down")
            elif job.try_cancel():
                self.backlog.remove(segment)


class ProcessPoolExecutor(concurrent.futures.ProcessPoolExecutor):
    """Runs calls in worker processes, with the interface of concurrent.futures.

    A worker that dies breaks the future of the call that it ran (with a WorkerDiedError that
    is a BrokenProcessPool too) and is replaced; the executor and all other futures go on.
    Workers start at the first `submit`, may have children, and end with their parent.
    """

    _engine: _ExecutorEngine | None = None

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
    ) -> None:
        if max_workers is None:
            max_workers = cpus()
        max_workers = index(max_workers)
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if max_tasks_per_child is not None:
            if not isinstance(max_tasks_per_child, int):
                raise TypeError("max_tasks_per_child must be an integer")
            if max_tasks_per_child <= 0:
                raise ValueError("max_tasks_per_child must be >= 1")
        self._max_workers = max_workers
        self._context = self._mp_context = mp_context
        self._starts_with, self._initargs = initializer, initargs
        self._max_tasks_per_child = max_tasks_per_child
        self._is_shut_down = False
        self._lock = threading.Lock()

    # ---- what programs and tests know by these names ----

    @property
    def _broken(self) -> str | bool:  # type: ignore[override]
        broken = None if self._engine is None else self._engine.floor.broken
        return False if broken is None else str(as_broken(broken))

    @property
    def _executor_manager_thread(self) -> threading.Thread | None:  # type: ignore[override]
        return None if self._engine is None else self._engine.thread

    @property
    def _processes(self) -> dict[int, Any]:  # type: ignore[override]
        return {} if self._engine is None else {process.pid: process for process in self._engine.processes}

    def _ready_engine(self) -> _ExecutorEngine:
        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if util.is_exiting():  # type: ignore[attr-defined, unused-ignore]
                raise RuntimeError("cannot schedule new futures after interpreter shutdown")
            engine = self._engine
            if engine is None:
                engine = _ExecutorEngine(
                    self._context.Process,
                    self._max_workers,
                    self._starts_with,
                    self._initargs,
                    self._max_tasks_per_child,
                )
                # A fork beside the collector's thread and the program's others is one too many: all at once, now.
                engine.starts_on_demand = self._context.get_start_method() != "fork"
                engine.start()
                self._engine = engine
                util.Finalize(self, _finish, args=(engine,), exitpriority=15)
            elif engine.state != RUN or engine.floor.broken is not None or engine.pid != os.getpid():
                raise as_broken(engine.floor.broken or RuntimeError("its workers were ended"))
            return engine

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Have a worker call `fn(*args, **kwargs)`; RuntimeError after `shutdown`.

        What cannot be pickled is the future's exception.
        """
        engine = self._ready_engine()
        future: Promise[Any] = Promise()
        job = FutureJob(future)
        try:
            job.join_engine(engine)
            if engine.starts_on_demand:
                engine.grow(len(engine.jobs))
            engine.submit(Segment(job, 0, ((fn, args, kwargs),), 0, 1))
        except BaseException:
            engine.forget(job)
            raise
        return future

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Generator[Any, None, None]:
        """An iterator over `fn` of the items of the iterables side by side, in their order.

        `timeout` seconds after this call it raises TimeoutError. Without `buffersize` the
        iterables are drawn at once; with it so many items before their results are taken.
        A worker's death is one item's error, and ends the iterator as any error does.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        until = None if timeout is None else monotonic() + timeout
        engine = self._ready_engine()
        job = _MapJob(fn, True, DEFAULT.changed({"buffersize": buffersize}))
        job.kind, job.chunk = STARRED, chunksize
        rows = zip(*iterables, strict=False)
        if buffersize is None:
            items = list(rows)
            job.join_engine(engine)
            if engine.starts_on_demand:
                engine.grow(len(engine.jobs) + len(items))
            if items:
                engine.submit(Segment(job, 0, items, 0, len(items)))
            job.set_length(len(items))
        else:
            job.join_engine(engine)
            if engine.starts_on_demand:
                engine.grow(len(engine.jobs) + buffersize)
            draw(engine, job, rows, chunksize)
        return _results(job, until)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; with `cancel_futures` drop those that have not begun; wait for the others."""
        with self._lock:
            self._is_shut_down = True
            engine = self._engine
        if engine is None:
            return
        if cancel_futures:
            engine.cancel_waiting()
        engine.close()
        if wait and threading.current_thread() is not engine.thread:
            engine.thread.join()

    def terminate_workers(self) -> None:
        """End the workers by SIGTERM; futures without a result are broken."""
        self._end(kill=False)

    def kill_workers(self) -> None:
        """End the workers by SIGKILL; futures without a result are broken."""
        self._end(kill=True)

    def _end(self, *, kill: bool) -> None:
        with self._lock:
            self._is_shut_down = True
            engine = self._engine
        if engine is None:
            return
        engine.state = TERMINATE  # nobody is replaced from here on
        if kill:
            for process in list(engine.processes):
                process.kill()
        engine.terminate()


def _results(job: StreamJob, until: float | None) -> Generator[Any, None, None]:
    try:
        while True:
            try:
                taken = [job.take(None if until is None else max(0.0, until - monotonic()), TimeoutError)]
            except StopIteration:
                return
            yield taken.pop()  # nothing of it stays here
    finally:
        job.cancelled = TaskCancelledError("nobody reads the results any more")
        job.abandon()


def _finish(engine: _ExecutorEngine) -> None:
    """The executor is gone: what was submitted is still done; at the program's end, waited for."""
    engine.close()
    if util.is_exiting() and engine.pid == os.getpid():  # type: ignore[attr-defined, unused-ignore]
        engine.thread.join()
