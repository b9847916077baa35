"""What type checkers make of the package's names; checked by mypy, never run."""

from typing import assert_type

import procession
from procession.synchronize import Lock, RLock

assert_type(procession.Lock(), Lock)
assert_type(procession.RLock(on_owner_death="raise"), RLock)
assert_type(procession.Lock().acquire(timeout=1.5), bool)
assert_type(procession.Lock().owner_died, int | None)
assert_type(procession.Lock().statistics().acquisitions, int)
assert_type(procession.compat(), dict[str, str])
with procession.Lock() as held:
    assert_type(held, bool)
child = procession.Process(target=print, args=(1,), kwargs={"end": ""}, daemon=True)
assert_type(child.exitcode, int | None)
child.interrupt()
