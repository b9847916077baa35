"""What a zygote imports before it forks, and what then speaks against forking.

The main program is imported as a child would import it. If it raises, each child raises
that, as it would have done itself. If it starts threads, which no copy would have, the
zygote begins anew without it, and each child imports it for itself. Modules that the
program asked for by name are kept although they start threads, with a warning.
"""

import os
import pickle
import sys
from multiprocessing import process
from typing import Any

from procession._base import memory_file
from procession._launch import arrival


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
    return _threads() <= threads


def _import(name: str) -> None:
    threads = _threads()
    try:
        __import__(name)
    except ImportError:
        return
    if started := _threads() - threads:
        sys.stderr.write(
            f"procession: the preloaded module {name!r} has started {started} thread(s) in the fork server. "
            "Its children will not have them, and may hang on locks that they hold: "
            "leave it out of set_forkserver_preload(), or let it start them later\n"
        )


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208


def begin_anew(
    line: int, configuration: int, modules: list[str], authkey: bytes, data: dict[str, Any], ours: list[str]
) -> None:
    """Run this interpreter again, without the main program."""
    modules = [name for name in modules if name != "__main__"]
    again = memory_file.holding(pickle.dumps((modules, authkey, data, ours)))
    os.dup2(again, configuration)  # inheritable
    os.set_inheritable(line, True)
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606
