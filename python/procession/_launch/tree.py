"""A signal for a process and everything that descends from it.

    1  look: the root, its children, their children: until nobody new is found
    2  signal each, parents before children, and look at its children once more
    3  look at everybody again; if somebody new is found, go on with 2

Parents come first: one that replaces its dead workers has been told before it can see
one die. Nobody is stopped (SIGSTOP) meanwhile: whoever kills may himself be killed half
way, and the rest would stay stopped for ever.

A process is known by pid and start time, and is signalled through a pidfd that was
opened before the start time was looked at: a pid that has been reused is never hit.

Out of reach are descendants whose parent ended before the look: for the kernel they
descend from nobody any more. So does a child that is born between the last look at its
parent and the parent's end, some microseconds. A control group of their own brings
both back; see `control_group`.
"""

import os
import select
import signal as signals
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from procession import _native
from procession._launch import control_group

ROUNDS: Final = 8
"""How often step 3 may find somebody: what starts new processes when it is asked to end must not keep us."""


Identity = tuple[int, int]
"""Pid and start in clock ticks: one process, for ever."""

TICK: Final = 10_000_000  # ns; the unit of start times


def identify(pid: int) -> Identity | None:
    """The process that has that pid now; None when it has ended."""
    status = _native.process_status(pid)
    return None if status is None or status[2] else (pid, status[1])


class Tree:
    """A process and its descendants, as far as they have been found: parents before children."""

    def __init__(self, root: Identity) -> None:
        self.members = [root]
        self._known = {root}
        self.look()

    def look(self) -> None:
        """Look at everybody, also at those found on the way."""
        for member in self.members:
            self.look_at(member)

    def look_at(self, parent: Identity) -> None:
        """Find the children of a member."""
        for child in _children(parent):
            if child not in self._known:
                self._known.add(child)
                self.members.append(child)

    def signal(self, sig: int) -> None:
        """Signal every member once, and those that are found meanwhile."""
        refused: OSError | None = None
        told = rounds = 0
        while told < len(self.members) and rounds < ROUNDS:
            for member in self.members[told:]:
                try:
                    _send(member, sig)
                except (
                    PermissionError
                ) as error:  # it has become somebody else's; the others are still to be told
                    refused = error
                self.look_at(member)
                told += 1
            self.look()
            rounds += 1
        if refused is not None:
            raise refused


def nobody(_pid: int) -> list[int]:
    """No children."""
    return []


adopted: Callable[[int], list[int]] = nobody
"""Pids of the children that a zygote has forked for a process: for the kernel they are the zygote's."""


def _children(parent: Identity) -> list[Identity]:
    pid, started = parent
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // TICK
    listed = [*_native.children_of(pid), *adopted(pid)]
    status = _native.process_status(pid)
    if status is not None and status[1] != started:
        return []  # the list is that of another process
    found = []
    for child in listed:
        # Its parent may be another by now, if ours has just ended; what began after the list was made is not meant.
        status = _native.process_status(child)
        if status is None or status[1] > now or status[2] or _native.is_resource_tracker(child):
            continue
        found.append((child, status[1]))
    return found


def _send(member: Identity, sig: int) -> None:
    with suppress(ProcessLookupError):
        pidfd = os.pidfd_open(member[0])
        try:
            if identify(member[0]) == member:
                signals.pidfd_send_signal(pidfd, sig)
        finally:
            os.close(pidfd)


def has_ended(sentinel: int) -> bool:
    """Whether the process behind a descriptor that is readable then has ended."""
    poll = select.poll()
    poll.register(sentinel, select.POLLIN)
    return bool(poll.poll(0))


def _check_that_all_can_be_seen() -> None:
    """Raise now if /proc is not there, or no descriptors are left to look at it: else some would be overlooked."""
    for fd in [os.open("/proc", os.O_RDONLY | os.O_DIRECTORY) for _ in range(3)]:
        os.close(fd)


def send(pid: int, sentinel: int, sig: int) -> None:
    """Signal process `pid` and all its descendants.

    `sentinel` is a descriptor that is readable when the process has ended: then nobody
    is signalled. Raises OSError before anything happens when /proc cannot be read, and
    after all others have been signalled when a descendant may not be signalled.
    """
    _check_that_all_can_be_seen()
    root = identify(pid)
    if root is None or has_ended(sentinel):
        return
    tree = Tree(root)
    if sig == signals.SIGKILL:
        control_group.kill({member for member, _ in tree.members}, pid)
    tree.signal(sig)
