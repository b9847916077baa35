"""joblib's programs on procession's workers; needs joblib (`pip install procession[joblib]`).

    import joblib, procession.joblib

    procession.joblib.register()
    with joblib.parallel_config("procession", n_jobs=4):
        joblib.Parallel()(joblib.delayed(work)(item) for item in items)

Workers stay for the next `Parallel`, as loky's do, and end with the program. One that dies
costs its batch: `Parallel` raises WorkerDiedError, and the next call works.
"""

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from joblib.parallel import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
    register_parallel_backend,
)

from procession._base.cpus import cpus
from procession._work.pool import Pool
from procession.context import _default_context

if TYPE_CHECKING:
    from procession._work.jobs import ApplyResult

__all__ = ["ProcessionBackend", "register"]

Outcome = tuple[bool, Any]
Key = tuple[int, int, str, tuple[tuple[str, str], ...]]


def register(*, make_default: bool = False) -> None:
    """Make the backend known to joblib as "procession"; with `make_default` it is what joblib uses unless told otherwise."""
    register_parallel_backend("procession", ProcessionBackend, make_default=make_default)


def _limit_threads(*environment: tuple[str, str]) -> None:
    os.environ.update(environment)


class Workers:
    """A pool and how many `Parallel` calls use it: it is closed with the last of them once another has taken its place."""

    current: ClassVar["Workers | None"] = None
    _lock: ClassVar = threading.Lock()

    def __init__(self, key: Key) -> None:
        _, n_jobs, start_method, environment = key
        context = _default_context.get_context(start_method)
        self.key, self._users = key, 0
        self.pool = Pool(n_jobs, _limit_threads, environment, context=context)

    @classmethod
    def borrow(cls, key: Key) -> "Workers":
        """Those of the last call, if they are of the kind that is wanted; else new ones."""
        with cls._lock:
            found, left = cls.current, None
            if found is None or found.key != key or found.pool._state != "RUN":
                found, left = cls(key), found
                cls.current = found
            found._users += 1
            if left is not None and left.key[0] == os.getpid() and not left._users:
                left.pool.close()
            return found

    def give_back(self) -> None:
        """A call is over."""
        with self._lock:
            self._users -= 1
            if not self._users and type(self).current is not self:
                self.pool.close()


class ProcessionBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]  # joblib has no types
    """Runs joblib's batches in a pool that outlives its workers, and single calls.

    `start_method=` chooses how workers start: "forkserver" unless said otherwise, as copies of a
    program with threads (of numerical libraries, say) are not safe. Threads of numerical
    libraries in workers are limited as joblib limits them for loky (`inner_max_num_threads=`).
    """

    supports_inner_max_num_threads = True
    supports_retrieve_callback = True

    def __init__(self, start_method: str = "forkserver", **more: Any) -> None:
        super().__init__(**more)
        self._start_method = start_method
        self._workers: Workers | None = None
        self._pending: set[ApplyResult[Any]] = set()

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many workers `n_jobs` asks for; -1 is as many as can run at once."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        return max(cpus() + 1 + n_jobs, 1) if n_jobs < 0 else n_jobs

    def configure(self, n_jobs: int | None = 1, parallel: Any = None, **_: Any) -> int:
        """Begin a `Parallel` call: how many workers it has."""
        workers = self.effective_n_jobs(n_jobs)
        if workers == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        environment = tuple(sorted(self._prepare_worker_env(workers).items()))
        self._workers = Workers.borrow((os.getpid(), workers, self._start_method, environment))
        return workers

    def submit(self, func: Callable[[], Any], callback: Callable[[Outcome], object] | None = None) -> Any:
        """Have a worker run a batch; `callback` is told its outcome in the pool's thread."""
        assert self._workers is not None, "configure() has not been called"  # noqa: S101
        results: list[ApplyResult[Any]] = []

        def tell(outcome: Outcome) -> None:
            self._pending.difference_update(results)
            if callback is not None:
                callback(outcome)

        result = self._workers.pool.apply_async(
            func,
            callback=lambda value: tell((True, value)),
            error_callback=lambda error: tell((False, error)),
        )
        results.append(result)
        self._pending.add(result)
        if result.ready():  # it was told before it was noted
            self._pending.discard(result)
        return result

    apply_async = submit

    def retrieve_result_callback(self, out: Outcome) -> Any:
        """A batch's results; raises what it raised."""
        success, value = out
        if success:
            return value
        raise value

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: ARG002
        """End what runs and waits of this call. The workers stay ready, whatever is asked for."""
        for result in list(self._pending):
            result.cancel()
        self._pending.clear()

    def terminate(self) -> None:
        """End a `Parallel` call: the workers are for the next one."""
        workers, self._workers = self._workers, None
        if workers is not None:
            workers.give_back()
        self.reset_batch_stats()
