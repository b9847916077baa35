"""What a new process finds when it begins, and how it takes its place.

    parent                                        child
    Arrival(...) pickled first    ------------->  arrive(): places in the arenas are taken,
    the rest of the preparation                   tracker and zygote are known
    prepare()                                     name, authkey, path, folder, main module
    the process object            ------------->  unpickled: its handles open
                                                  luggage put down, _bootstrap()

The two pickles follow each other as the standard library's do, so that tools which start
children their own way (by replacing `multiprocessing.spawn.get_command_line`) can read them.
"""

import multiprocessing
import os
import pickle
import sys
from collections.abc import Callable
from multiprocessing import process, util
from typing import Any, BinaryIO, Protocol

from procession import _native


class Travelling(Protocol):
    """A descriptor on its way."""

    def detach(self) -> int: ...


class Kept:
    """A descriptor that has the same number in the child."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def detach(self) -> int:
        """The number."""
        return self.fd

    def __reduce__(self) -> tuple[type["Kept"], tuple[int]]:
        return Kept, (self.fd,)


received: list[int] = []
"""Descriptors that were sent to this process, in the order of their sending."""


class Sent:
    """A descriptor that is sent to the child over a socket."""

    __slots__ = ("place",)

    def __init__(self, place: int) -> None:
        self.place = place

    def detach(self) -> int:
        """The number that it got here."""
        return received[self.place]

    def __reduce__(self) -> tuple[type["Sent"], tuple[int]]:
        return Sent, (self.place,)


Place = tuple[Travelling, Travelling, bytes]
"""A place in an arena: the arena's descriptor, the slot's, and who comes there with what."""


class Arrival:
    """Takes this process's place in its family when it is unpickled."""

    def __init__(self, *what: Any) -> None:
        self.what = what  # `arrive`'s arguments

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Any, ...]]:
        return arrive, self.what


class _Here:
    """What arrived with this process."""

    def __init__(self) -> None:
        self.parent_sentinel = -1
        self.luggage: list[_native.Luggage] = []
        self.line = -1


here = _Here()


def arrive(
    parent: Travelling,
    tracker: Travelling | None,
    line: Travelling | None,
    places: list[Place],
) -> None:
    """Join the family: from here on the process is a member of its parent's arenas."""
    here.parent_sentinel = parent.detach()
    os.set_inheritable(here.parent_sentinel, False)
    for number, (arena, slot, manifest) in enumerate(places):
        fd = arena.detach()
        here.luggage.append(_native.embark(fd, slot.detach(), manifest, current=number == 0))
        os.close(fd)
    if tracker is not None:
        from multiprocessing import resource_tracker  # noqa: PLC0415  most children have none

        resource_tracker._resource_tracker._fd = tracker.detach()  # type: ignore[attr-defined]
    if line is not None:
        here.line = line.detach()


def prepare(data: dict[str, Any]) -> None:
    """What the standard library's `spawn.prepare` does."""
    me = process.current_process()
    if "name" in data:
        me.name = data["name"]
    if "authkey" in data:
        me.authkey = data["authkey"]
    if data.get("log_to_stderr"):
        util.log_to_stderr()
    if "log_level" in data:
        util.get_logger().setLevel(data["log_level"])
    if "sys_path" in data:
        sys.path = data["sys_path"]
    if "sys_argv" in data:
        sys.argv = data["sys_argv"]
    if "dir" in data:
        os.chdir(data["dir"])
    if "orig_dir" in data:
        process.ORIGINAL_DIR = data["orig_dir"]  # type: ignore[attr-defined]
    if "start_method" in data:
        multiprocessing.set_start_method(data["start_method"], force=True)
    import_main(data)


def import_main(data: dict[str, Any]) -> None:
    """Make the parent's main module importable from here, as the standard library does."""
    if "init_main_from_name" not in data and "init_main_from_path" not in data:
        return
    from multiprocessing import spawn  # noqa: PLC0415  it imports much that children without a main never need

    if "init_main_from_name" in data:
        spawn._fixup_main_from_name(data["init_main_from_name"])  # type: ignore[attr-defined]
    else:
        spawn._fixup_main_from_path(data["init_main_from_path"])  # type: ignore[attr-defined]


def begin(data: BinaryIO) -> process.BaseProcess:
    """Read what the parent left, and become that process; its `_bootstrap` is next."""
    me: Any = process.current_process()
    me._inheriting = True
    try:
        prepare(pickle.load(data))
        process_obj: process.BaseProcess = pickle.load(data)
    finally:
        del me._inheriting
    while here.luggage:
        here.luggage.pop().put_down()
    return process_obj
