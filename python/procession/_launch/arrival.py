"""What a new process finds when it begins, and how it takes its place.

    parent                                        child
    Arrival(...) in the head      ------------->  arrive(): places in the arenas are taken,
    the rest of the preparation                   tracker and zygote are known
    prepare()                                     name, authkey, path, folder, main module
    the body: the process object  ------------->  unpickled: its handles open
                                                  luggage put down, _bootstrap()

Head and body are two pickles, one after the other, as the standard library has them: tools
that start children their own way (by replacing `multiprocessing.spawn.get_command_line`)
can read them.

Every child loads this module when it begins, or copies its pages: it imports little.
"""

from __future__ import annotations

import os
import sys
from _pickle import loads
from multiprocessing import process

from procession import _native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Travelling(Protocol):
        """A descriptor on its way."""

        def detach(self) -> int:
            """Its number here."""

    Place = tuple[Travelling, Travelling, bytes]
    """A place in an arena: the arena's descriptor, the slot's, and who comes there with what."""


class Kept:
    """A descriptor that has the same number in the child."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def detach(self) -> int:
        """The number."""
        return self.fd

    def __reduce__(self) -> tuple[type[Kept], tuple[int]]:
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

    def __reduce__(self) -> tuple[type[Sent], tuple[int]]:
        return Sent, (self.place,)


class Arrival:
    """Takes this process's place in its family when it is unpickled."""

    def __init__(self, *what: Any) -> None:
        self.what = what  # `arrive`'s arguments

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Any, ...]]:
        return arrive, self.what


class _Here:
    """What arrived with this process."""

    parent_sentinel = -1
    line = -1
    main_error: BaseException | None = None

    def take_sentinel(self, other: int | None) -> int | None:
        """The parent's pidfd, once: for the process that arrived, and not for what it forks. Else the other."""
        sentinel, self.parent_sentinel = self.parent_sentinel, -1
        return sentinel if sentinel >= 0 else other

    def __init__(self) -> None:
        self.luggage: list[_native.Luggage] = []


here = _Here()


def arrive(
    parent: Travelling, tracker: Travelling | None, line: Travelling | None, places: list[Place]
) -> None:
    """Join the family: from here on the process is a member of its parent's arenas."""
    here.parent_sentinel = parent.detach()
    os.set_inheritable(here.parent_sentinel, False)
    is_first = True
    for arena, slot, manifest in places:
        fd = arena.detach()
        here.luggage.append(_native.embark(fd, slot.detach(), manifest, current=is_first))
        os.close(fd)
        is_first = False
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
    if "log_level" in data or data.get("log_to_stderr"):
        _prepare_log(data)
    if "sys_path" in data:
        sys.path = data["sys_path"]
    if "sys_argv" in data:
        sys.argv = data["sys_argv"]
    if "dir" in data:
        os.chdir(data["dir"])
    if "orig_dir" in data:
        process.ORIGINAL_DIR = data["orig_dir"]  # type: ignore[attr-defined]
    if "start_method" in data:
        sys.modules["multiprocessing"].set_start_method(data["start_method"], force=True)
    if "init_main_from_name" in data or "init_main_from_path" in data:
        import_main(data)


def _prepare_log(data: dict[str, Any]) -> None:
    from multiprocessing import util  # noqa: PLC0415  hardly anybody logs

    if data.get("log_to_stderr"):
        util.log_to_stderr()
    if "log_level" in data:
        util.get_logger().setLevel(data["log_level"])


def import_main(data: dict[str, Any]) -> None:
    """Make the parent's main module importable from here, as the standard library does."""
    if here.main_error is not None:
        raise here.main_error
    from procession._launch import main_module  # noqa: PLC0415  a child without a main has no use for it

    main_module.import_main(data)


def read(fd: int) -> bytes:
    """All that a descriptor has, which is closed."""
    left = os.fstat(fd).st_size
    parts = []
    while left:
        parts.append(os.read(fd, left))
        left -= len(parts[-1])
    os.close(fd)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _load(body: bytes | memoryview) -> Any:
    try:
        return loads(body)
    except (ImportError, AttributeError) as error:
        from procession._launch import missing  # noqa: PLC0415  needed only now

        missing.explain(error, body)
        raise


def begin(head: bytes | memoryview, body: bytes | memoryview) -> Any:
    """Read what the parent left, and become that process; its `_bootstrap` is next."""
    me: Any = process.current_process()
    me._inheriting = True
    try:
        prepare(loads(head))
        process_obj = _load(body)
    finally:
        del me._inheriting
    while here.luggage:
        here.luggage.pop().put_down()
    return process_obj
