"""What a zygote imports before it forks, and what then speaks against forking.

The main program is imported as a child would import it. If it raises, each child raises
that, as it would have done itself. If it starts threads, which no copy would have, the
zygote begins anew without it, and each child imports it for itself. Modules that the
program asked for by name are kept although they start threads, with a warning.

Threads that end before a fork are nothing of that kind. OpenBLAS, which numpy brings, starts
some when it is imported, ends them before its process forks, and starts others when it is
used again. Whether a library is prepared in this way is seen by forking.
"""

import os
import pickle
import signal
import sys
import warnings
from multiprocessing import process
from typing import Any, Final

from procession._base import memory_file
from procession._launch import arrival

EXITING: Final = 0x4  # PF_EXITING of a task's flags: it runs no more code of the process


def preload(modules: list[str], authkey: bytes, data: dict[str, Any], ours: list[str]) -> bool:
    """Import them; False when the process should begin anew without the main program."""
    for name in ours:
        __import__(name)
    me: Any = process.current_process()
    me.name, me.authkey = "forkserver", authkey
    for name in ("path", "argv"):
        if f"sys_{name}" in data:
            setattr(sys, name, data[f"sys_{name}"])
    if "__main__" in modules and not _import_main(me, data):
        return False
    for name in modules:
        _import(name)
    return True


def _import_main(me: Any, data: dict[str, Any]) -> bool:
    me._inheriting = True
    threads = _threads()
    try:
        arrival.import_main(data)
    except BaseException as error:  # noqa: BLE001  also SystemExit: a child would end by it, the zygote must not
        arrival.here.main_error = error
    finally:
        del me._inheriting
    return _staying_threads() <= threads


def _import(name: str) -> None:
    threads = _threads()
    try:
        __import__(name)
    except ImportError:
        return
    if (started := _staying_threads() - threads) > 0:
        sys.stderr.write(
            f"procession: the preloaded module {name!r} has started {started} thread(s) in the fork server. "
            "Its children will not have them, and may hang on locks that they hold: "
            "leave it out of set_forkserver_preload(), or let it start them later\n"
        )


def _staying_threads() -> int:
    """How many threads there are that a fork does not end."""
    if _threads() > 1:
        _try_fork()
    return _threads()


def _try_fork() -> None:
    """Have libraries do what they do before a fork."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12's, of the threads that it is about
        pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.kill(pid, signal.SIGKILL)  # at once: beside threads nobody knows what it would wait for
    os.waitpid(pid, 0)


def _threads() -> int:
    return sum(map(_runs, os.listdir("/proc/self/task")))  # noqa: PTH208


def _runs(thread: str) -> bool:
    """False for one that has been joined and that the kernel has not taken away yet."""
    try:
        with open(f"/proc/self/task/{thread}/stat", "rb") as file:  # noqa: PTH123
            flags = int(file.read().rpartition(b")")[2].split()[6])
    except (FileNotFoundError, ProcessLookupError):
        return False
    return not flags & EXITING


def begin_anew(
    line: int, configuration: int, modules: list[str], authkey: bytes, data: dict[str, Any], ours: list[str]
) -> None:
    """Run this interpreter again, without the main program."""
    modules = [name for name in modules if name != "__main__"]
    again = memory_file.holding(pickle.dumps((modules, authkey, data, ours)))
    os.dup2(again, configuration)  # inheritable
    os.set_inheritable(line, True)
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606
