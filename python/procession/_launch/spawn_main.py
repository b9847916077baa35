"""Where a spawned child begins."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import atexit
import gc
import sys

_collects = gc.isenabled()
gc.disable()  # what is imported here never becomes garbage

from procession._launch import deferred  # noqa: E402

deferred.defer("multiprocessing.reduction")
deferred.defer("subprocess", "_args_from_interpreter_flags")
deferred.defer("signal")
deferred.defer("tempfile")  # multiprocessing.connection's, for listeners without a name
deferred.defer("traceback")  # the pool's, for tasks that fail

with deferred.Lent("signal", vars(_signal)):  # its numbers have names already
    from procession import _native
    from procession._launch import arrival


def main(fd: int, head: int) -> None:
    """Become the process that `fd` describes, and end as an interpreter does."""
    deferred.attach()
    gc.freeze()  # no collection looks at any of this again, nor does the last, at the end
    if _collects:
        gc.enable()
    atexit.register(_native.leave)  # first, so that it comes after all others
    data = memoryview(arrival.read(fd))
    process_obj = arrival.begin(data[:head], data[head:])
    del data
    sys.exit(process_obj._bootstrap())
