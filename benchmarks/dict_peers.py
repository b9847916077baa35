"""Rows of shared dicts beside those of other packages: the left column is theirs, not the standard library's.

    pip install -r requirements/peers.txt

A package that is not installed, or gives wrong results, has its reason in the place of figures.
"""

import atexit
import contextlib
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import containers
from procession import shared
from rows import Measure, Refused, Row


def shared_memory_dict() -> Any:
    """Pickles the whole dict for each change; several writers need the lock of this variable."""
    os.environ["SHARED_MEMORY_USE_LOCK"] = "1"
    module = import_module("shared_memory_dict")
    made = module.SharedMemoryDict(name=f"procession-bench-{os.getpid()}", size=1 << 16)
    atexit.register(_forget, made.shm)
    return made


def _forget(block: Any) -> None:
    with contextlib.suppress(FileNotFoundError):  # each round attaches to the same
        block.unlink()


def ultra_dict() -> Any:
    """Writes a log of changes."""
    return import_module("UltraDict").UltraDict()


def shared_hashmap() -> Any:
    """Buckets of a fixed size, with atomic states."""
    name = f"procession-bench-map-{os.getpid()}-{os.urandom(4).hex()}"
    made = import_module("shared_hashmap").SharedHashMap(name)
    atexit.register(made.unlink)
    sys.unraisablehook = _tell_of_others
    return made


def _tell_of_others(unraisable: Any) -> None:
    """shared-hashmap's end raises in the `__del__` of each of its thousand states, in every process that had it."""
    if "AtomicViewContext" not in repr(unraisable.object):
        sys.__unraisablehook__(unraisable)


PEERS: dict[str, Callable[[], Any]] = {
    "shared_memory_dict": shared_memory_dict,
    "UltraDict": ultra_dict,
    "shared-hashmap": shared_hashmap,
}


def checked(processes: int, make: Callable[[], Any]) -> Measure:
    """As by_processes; Refused where that is not possible, or what comes of it is wrong."""
    measure = containers.by_processes(processes, 500, make)

    def refusing() -> float:
        try:
            return measure()
        except ImportError:
            raise Refused("not installed") from None
        except Exception as error:  # noqa: BLE001  whatever it does wrong
            raise Refused(f"wrong: {error}"[:120]) from None

    return refusing


def rows() -> list[Row]:
    """One and four processes beside each package."""
    return [
        Row(
            f"shared dict, set and get by {processes} child{'ren' * (processes > 1)}, beside {name}",
            checked(processes, make),
            containers.by_processes(processes, 20_000, shared.dict),
            1,
            5,
        )
        for name, make in PEERS.items()
        for processes in (1, 4)
    ]
