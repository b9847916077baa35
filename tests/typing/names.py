"""What type checkers make of the package's names; checked by mypy, never run."""

import logging
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from typing import assert_type

import numpy as np
import numpy.typing as npt

import procession
import procession.context
import procession.pool
import procession.process
import procession.queues
import procession.spawn
import procession.util
from procession import shared
from procession.synchronize import Barrier, BoundedSemaphore, Condition, Event, Lock, RLock, Semaphore

assert_type(procession.Lock(), Lock)
assert_type(procession.RLock(on_owner_death="raise"), RLock)
assert_type(procession.Lock().acquire(timeout=1.5), bool)
assert_type(procession.Lock().owner_died, int | None)
assert_type(procession.Lock().statistics().acquisitions, int)
assert_type(procession.Semaphore(2, recover=False), Semaphore)
assert_type(procession.BoundedSemaphore(2), BoundedSemaphore)
assert_type(procession.Semaphore().get_value(), int)
assert_type(procession.Semaphore().statistics().signalling, bool)
assert_type(procession.Event(), Event)
assert_type(procession.Event().wait(1.5), bool)
assert_type(procession.Condition(procession.Lock()), Condition)
assert_type(procession.Condition().wait_for(lambda: "yes", timeout=2), str)
assert_type(procession.Barrier(2, action=print, timeout=5), Barrier)
assert_type(procession.Barrier(2).wait(), int)
assert_type(procession.compat(), dict[str, str])
with procession.Lock() as held:
    assert_type(held, bool)
assert_type(procession.get_context(), procession.context.BaseContext)
assert_type(procession.get_context("fork"), procession.context.ForkContext)
assert_type(procession.get_context("spawn").Process(target=print).pid, int | None)
assert_type(procession.get_context("forkserver").get_context("fork"), procession.context.ForkContext)
assert_type(procession.get_start_method(allow_none=True), str | None)
assert_type(procession.get_all_start_methods(), list[str])
procession.set_start_method("spawn", force=True)
procession.set_executable(b"/usr/bin/python3")
procession.set_forkserver_preload(["json"])
procession.freeze_support()
assert_type(procession.cpu_count(), int)
assert_type(procession.cpus(), int)
assert_type(procession.get_logger(), logging.Logger)
assert_type(procession.log_to_stderr("INFO"), logging.Logger)
assert_type(procession.current_process(), BaseProcess)
assert_type(procession.parent_process(), BaseProcess | None)
assert_type(procession.active_children(), list[BaseProcess])
assert_type(procession.process.current_process().authkey, bytes)
assert_type(procession.util.DEFAULT_LOGGING_FORMAT, str)
assert_type(procession.util.Finalize(None, print, exitpriority=1).still_active(), bool)
procession.util.register_after_fork(logging.getLogger(), print)
procession.spawn.spawn_main(pipe_handle=3)
procession.install()
procession.uninstall()
child = procession.Process(target=print, args=(1,), kwargs={"end": ""}, daemon=True)
assert_type(child.exitcode, int | None)
child.interrupt()
child.terminate(tree=True)
child.kill(tree=True)
child.dies_with_parent = True
assert_type(child.dies_with_parent, bool)
assert_type(procession.cpus(), int)
assert_type(procession.Pool(2).apply_async(int, ("1",)).ready(), bool)
assert_type(procession.WorkerDiedError(0, "", 1, -9).exitcode, int | None)
with procession.ProcessPoolExecutor(2) as executor:
    assert_type(executor.submit(int, "1").done(), bool)
jobs: procession.queues.Queue[int] = procession.queues.Queue(3, producers=2)
jobs.put(1, timeout=1.5)
assert_type(jobs.get(), int)
assert_type(jobs.get_many(5), list[int])
jobs.put_many(range(3))
with jobs.producer() as the_same:
    assert_type(the_same, procession.queues.Queue[int])
assert_type(list(jobs), list[int])
assert_type(jobs.statistics().depth, int)
work: procession.queues.JoinableQueue[str] = procession.queues.JoinableQueue(redeliver=True, max_deliveries=3)
with work.taking() as item:
    assert_type(item, str)
work.task_done()
assert_type(work.last_delivery, int)
plain: procession.queues.SimpleQueue[bytes] = procession.queues.SimpleQueue()
assert_type(plain.get(), bytes)


def length(text: str) -> int:
    """A task."""
    return len(text)


with procession.get_context("fork").Pool(2, memory_limit=1 << 30) as pool:
    assert_type(pool.apply_async(length, ("text",)), procession.pool.AsyncResult[int])
    assert_type(pool.apply_async(length, ("text",)).get(timeout=3), int)
    assert_type(pool.apply(length, ("text",), retries=2), int)
    assert_type(pool.map(length, ["a", "b"]), list[int])
    assert_type(pool.starmap(length, [("a",)]), list[int])
    assert_type(pool.map_async(length, ["a", "b"], timeout=3), procession.pool.MapResult[int])
    assert_type(pool.map_async(length, ["a", "b"]).get(), list[int])
    assert_type(next(pool.imap(length, ["a", "b"], buffersize=3)), int)
    assert_type(list(pool.imap_unordered(length, ["a", "b"])), list[int])
    assert_type(pool.options(retries=2).map(length, ["a"]), list[int])

born = procession.empty((2, 3), np.float32)
assert_type(born, npt.NDArray[np.float32])
everybodys = shared.array(3, np.int64)
assert_type(everybodys.dtype, np.dtype[np.int64])
assert_type(shared.freeze({"a": [1]}), shared.FrozenDict[str, list[int]])
assert_type(shared.freeze({"a": 1})["a"], int)
assert_type(shared.freeze([1.5])[0:1], Sequence[float])
assert_type(shared.freeze(("a", "b"))[0], str)
assert_type(shared.freeze({1}).thaw(), set[int] | frozenset[int])
assert_type(shared.freeze("text"), str)
