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
    from multiprocessing import process

    from procession import _native
    from procession._launch import arrival


_STAYING = ("_closed", "_config", "_identity", "_name", "_parent_name", "_parent_pid", "_popen")


def _leave() -> None:
    """After all exit functions: have what objects may use in `__del__`, and let go of what is the program's.

    The interpreter's last collection does not look at `multiprocessing.process`; what that holds, and the
    globals of the process's target with it, would be deleted after the modules that it may need.
    """
    _native.leave()
    deferred.finish()
    me = process.current_process()
    stays = process.BaseProcess.__new__(process.BaseProcess)
    stays.__dict__.update((name, vars(me)[name]) for name in _STAYING if name in vars(me))
    stays.__dict__.update(_target=None, _args=(), _kwargs={})
    process._current_process = stays  # type: ignore[attr-defined]


def main(fd: int, head: int) -> None:
    """Become the process that `fd` describes, and end as an interpreter does."""
    deferred.attach()
    gc.freeze()  # no collection looks at any of this again, nor does the last, at the end
    if _collects:
        gc.enable()
    atexit.register(_leave)  # first, so that it comes after all others
    data = memoryview(arrival.read(fd))
    process_obj = arrival.begin(data[:head], data[head:])
    del data
    sys.exit(process_obj._bootstrap())
