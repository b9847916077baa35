"""Pool: the standard library's interface over the engine."""

import os
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping
from multiprocessing import pool as standard
from multiprocessing import util
from operator import index
from typing import Any, Self, TypeVar, cast

from procession._base.cpus import cpus
from procession._work.drawing import TaskQueue, draw
from procession._work.engine import Engine
from procession._work.floor import CLOSE, RUN, TERMINATE
from procession._work.jobs import ApplyResult, Job, MapResult
from procession._work.options import DEFAULT, Options, check_memory_limit
from procession._work.pace import chunksize as usual_chunksize
from procession._work.segments import Segment
from procession._work.streams import IMapIterator, IMapUnorderedIterator, StreamJob
from procession._work.worker import ITEMS, STARRED

INIT = "INIT"
_FIXED = (range, tuple)
"""Iterables that stay as they are, and need not be copied."""
_KEPT = (*_FIXED, list)
"""And those that their owner does not change while he waits."""
S = TypeVar("S")
T = TypeVar("T")


def _check(func: object, chunksize: int | None = None) -> None:
    """What a worker, or nobody, would find out later."""
    if not callable(func):
        raise TypeError(f"{func!r} is not callable")
    if chunksize is not None and chunksize < 1:
        raise ValueError(f"Chunksize must be 1+, not {chunksize:n}")


class Pool(standard.Pool):
    """Worker processes that run tasks; survives their deaths.

    A task whose worker dies fails with WorkerDiedError, or is run again if that was asked
    for; other tasks are not touched, and the worker is replaced. Leaving `with`, `terminate()`,
    garbage collection and the end of the program end the workers.
    """

    _engine: Engine | None = None
    _options = DEFAULT

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
        *,
        memory_limit: int | None = None,
    ) -> None:
        check_memory_limit(memory_limit)
        if processes is None:
            processes = cpus()
        processes = index(processes)
        if processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if maxtasksperchild is not None and (
            not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0  # type: ignore[redundant-expr]
        ):
            raise ValueError("maxtasksperchild must be a positive int or None")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._ctx = context
        self._maxtasksperchild = maxtasksperchild
        self._initializer, self._initargs = initializer, initargs
        self._processes = processes
        kind, find_self = type(self), weakref.ref(self)

        def make_process(**arguments: Any) -> Any:
            pool = find_self()  # a subclass may have made a method of what is static in ours
            return (kind if pool is None else pool).Process(context, **arguments)

        engine = Engine(make_process, processes, initializer, initargs, maxtasksperchild)
        engine.floor.memory_limit = memory_limit
        engine.start()
        self._engine = engine
        self._terminate = util.Finalize(self, Engine.terminate, args=(engine,), exitpriority=15)

    # ---- what programs and tests know by these names ----

    @property
    def _state(self) -> str:
        return INIT if self._engine is None else self._engine.state

    @_state.setter
    def _state(self, state: str) -> None:
        self._running().state = state

    @property
    def _pool(self) -> list[Any]:
        return [] if self._engine is None else self._engine.processes

    @property
    def _cache(self) -> dict[int, Job]:
        return self._running().jobs

    @property
    def _worker_handler(self) -> threading.Thread:
        return self._running().thread

    _task_handler = _result_handler = _worker_handler

    @property
    def _taskqueue(self) -> TaskQueue:
        return TaskQueue(self._running())

    def _repopulate_pool(self) -> None:
        self._running().rouse()  # the collector replaces who has ended

    def _running(self) -> Engine:
        assert self._engine is not None, "__init__ has not been called"  # noqa: S101
        return self._engine

    def __del__(self, _warn: Any = warnings.warn, _run: str = RUN) -> None:
        engine = self._engine
        if engine is not None and engine.state == _run and engine.pid == os.getpid():
            _warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, source=self)

    def __repr__(self) -> str:
        cls = type(self)
        return f"<{cls.__module__}.{cls.__qualname__} state={self._state} pool_size={len(self._pool)}>"

    # ---- tasks ----

    def _check_running(self) -> Engine:
        engine = self._engine
        if engine is None or engine.floor.state != RUN or engine.pid != os.getpid():
            raise ValueError("Pool not running")
        return engine

    def options(self, **changes: Any) -> Self:
        """This pool with other defaults for what a call may ask for; see `Options`."""
        return cast("Self", PoolView(self, self._options.changed(changes)))

    def apply(
        self, func: Callable[..., T], args: Iterable[Any] = (), kwds: Mapping[str, Any] = {}, **extras: Any
    ) -> T:
        """`func(*args, **kwds)` in a worker: waits for its result, and raises what it raised."""
        engine = self._check_running()
        _check(func)
        options = self._options.changed(extras) if extras else self._options
        result: ApplyResult[T] = ApplyResult(self, None, None, options=options)
        segment = Segment(result, 0, ((func, args, kwds),), 0, 1)
        try:
            if options is DEFAULT:
                return engine.call(result, segment)
            result.join_engine(engine)  # limits are the collector's to look after
            engine.submit(segment)
        except BaseException:
            result._hear()  # Ctrl-C: the program knows, and asks no more
            engine.forget(result)
            raise
        return result.get()

    def apply_async(
        self,
        func: Callable[..., T],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = {},
        callback: Callable[[T], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        **extras: Any,
    ) -> ApplyResult[T]:
        """Have a worker call `func(*args, **kwds)`; the result comes to what is returned, and to `callback`.

        Callbacks run in a thread of this process. `timeout=` seconds after it began the
        task is interrupted; `retries=` says how often it is run again when it fails;
        `on_worker_death=` "raise", "retry" or "skip".
        """
        engine = self._check_running()
        _check(func)
        result: ApplyResult[T] = ApplyResult(
            self,
            callback,
            error_callback,
            options=self._options.changed(extras) if extras else self._options,
        )
        segment = Segment(result, 0, ((func, args, kwds),), 0, 1)
        try:
            result.join_engine(engine)
            engine.submit(segment)
        except BaseException:
            engine.forget(result)
            raise
        return result

    def map(
        self, func: Callable[[S], T], iterable: Iterable[S], chunksize: int | None = None, **extras: Any
    ) -> list[T]:
        """The list of `func(item)` for all items; raises the first error when all are done.

        Interrupted (Ctrl-C, a signal's handler that raises) it begins no more of its tasks.
        """
        return self._await(self._map(func, iterable, ITEMS, chunksize, None, None, extras, _KEPT))

    def starmap(
        self,
        func: Callable[..., T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        **extras: Any,
    ) -> list[T]:
        """As `map`, each item being the tuple of the arguments."""
        return self._await(self._map(func, iterable, STARRED, chunksize, None, None, extras, _KEPT))

    def _await(self, result: MapResult[T]) -> list[T]:
        try:
            result.wait()
        except BaseException:
            result._hear()  # the program knows, and has nothing by which to ask
            self._running().drop(result)
            raise
        return result.get()

    def map_async(
        self,
        func: Callable[[S], T],
        iterable: Iterable[S],
        chunksize: int | None = None,
        callback: Callable[[list[T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        **extras: Any,
    ) -> MapResult[T]:
        """As `map`, without waiting; extras as in `apply_async`, and `progress=`: True, or a callable `(done, total)`."""
        return self._map(func, iterable, ITEMS, chunksize, callback, error_callback, extras)

    def starmap_async(
        self,
        func: Callable[..., T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[list[T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        **extras: Any,
    ) -> MapResult[T]:
        """As `starmap`, without waiting."""
        return self._map(func, iterable, STARRED, chunksize, callback, error_callback, extras)

    def imap(  # type: ignore[override]
        self, func: Callable[[S], T], iterable: Iterable[S], chunksize: int = 1, **extras: Any
    ) -> IMapIterator[T]:
        """An iterator over the results in the order of the items, each as soon as it is there.

        `buffersize=` bounds how many items are drawn before their results are taken.
        """
        return IMapIterator(self, job=self._stream(func, iterable, chunksize, True, extras))

    def imap_unordered(  # type: ignore[override]
        self, func: Callable[[S], T], iterable: Iterable[S], chunksize: int = 1, **extras: Any
    ) -> IMapUnorderedIterator[T]:
        """As `imap`, in the order in which the results come."""
        return IMapUnorderedIterator(self, job=self._stream(func, iterable, chunksize, False, extras))

    def _submit(self, job: Job, segment: Segment) -> None:
        engine = self._running()
        try:
            job.join_engine(engine)
            engine.submit(segment)
        except BaseException:
            engine.forget(job)
            raise

    def _map(
        self,
        func: Callable[..., T],
        iterable: Iterable[Any],
        kind: int,
        chunksize: int | None,
        callback: Callable[[list[T]], object] | None,
        error_callback: Callable[[BaseException], object] | None,
        extras: dict[str, Any],
        kept: tuple[type, ...] = _FIXED,
    ) -> MapResult[T]:
        self._check_running()
        _check(func, chunksize)
        failure = None
        try:
            items = cast("Any", iterable) if type(iterable) in kept else list(iterable)
        except Exception as error:
            if not hasattr(iterable, "__len__"):
                raise
            failure, items = error, [None]
        if chunksize is None:
            chunksize = usual_chunksize(len(items), self._processes)
        options = self._options.changed(extras)
        result: MapResult[T] = MapResult(
            self, chunksize, len(items), callback, error_callback, options=options
        )
        result.kind, result.function = kind, func
        if failure is not None:
            result.failed(0, failure)
        elif items:
            self._submit(result, Segment(result, 0, items, 0, len(items)))
        return result

    def _stream(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int, is_ordered: bool, extras: Any
    ) -> StreamJob:
        self._check_running()
        _check(func, chunksize)
        items = iter(iterable)
        job = StreamJob(func, is_ordered, self._options.changed(extras))
        job.chunk = chunksize
        job.join_engine(self._running())
        if type(iterable) in (list, tuple, range) and job.options.buffersize is None:
            everything = list(iterable)
            if everything:
                self._running().submit(Segment(job, 0, everything, 0, len(everything)))
            job.set_length(len(everything))
            return job
        draw(self._running(), job, items, chunksize)
        return job

    # ---- the end ----

    def close(self) -> None:
        """Take no more tasks; the workers end when all are done."""
        util.debug("closing pool")
        self._running().close()

    def terminate(self) -> None:
        """End the workers now; tasks without a result fail with PoolTerminatedError."""
        util.debug("terminating pool")
        self._running().state = TERMINATE
        self._terminate()

    def join(self) -> None:
        """Wait until the workers have ended, after `close()` or `terminate()`."""
        util.debug("joining pool")
        engine = self._running()
        if engine.state == RUN:
            raise ValueError("Pool is still running")
        if engine.state not in (CLOSE, TERMINATE):
            raise ValueError("In unknown state")
        engine.thread.join()

    def __reduce__(self) -> Any:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    def __enter__(self) -> Self:
        self._check_running()
        return self

    def __exit__(self, exc_type: object, exc_val: object, exc_tb: object) -> None:
        self.terminate()


class PoolView:
    """A pool with other defaults; all else is the pool's."""

    def __init__(self, pool: Pool, options: Options) -> None:
        self._of, self._options = pool, options

    def __getattr__(self, name: str) -> Any:
        found = getattr(type(self._of), name, None)
        if name in _TAKES_OPTIONS and callable(found):
            return found.__get__(self)
        return getattr(self._of, name)


_TAKES_OPTIONS = frozenset(
    {
        "options", "apply", "apply_async", "map", "map_async", "starmap", "starmap_async",
        "imap", "imap_unordered", "_map", "_stream", "_submit",
    }
)  # fmt: skip
