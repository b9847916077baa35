"""What type checkers make of the package's names; checked by mypy, never run."""

from typing import assert_type

import procession
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
child = procession.Process(target=print, args=(1,), kwargs={"end": ""}, daemon=True)
assert_type(child.exitcode, int | None)
child.interrupt()
child.terminate(tree=True)
child.kill(tree=True)
child.dies_with_parent = True
assert_type(child.dies_with_parent, bool)
assert_type(procession.cpus(), int)
