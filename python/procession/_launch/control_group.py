"""Killing a control group at one stroke, where a process tree has one of its own.

Nobody leaves a group by losing its parent, and `cgroup.kill` (version 2, Linux 5.14)
also meets what is being forked. A tree has a group of its own when somebody gave its
root one: an initializer that limits a worker's memory, say. The group must lie below
ours and hold nobody but the tree and, unless ours is the root of all groups, orphans:
below a group that was made for us there is nobody but ours.
"""

import os
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress

from procession import _native


def kill(tree: set[int], root: int) -> bool:
    """Kill the control group that is the tree's alone; False when there is none."""
    ours, theirs, mounted = _group(os.getpid()), _group(root), _mount_point()
    if ours is None or theirs is None or mounted is None or not _is_below(theirs, ours):
        return False
    strangers = [pid for pid in _processes(mounted + theirs) if pid not in tree]
    if strangers and (ours == "/" or not all(_is_orphan(pid, tree) for pid in strangers)):
        return False
    with suppress(OSError):
        _write(f"{mounted}{theirs}/cgroup.kill", b"1")
        return True
    return False


def _is_below(group: str, other: str) -> bool:
    return group != other and group.startswith(other.rstrip("/") + "/") and "/.." not in group


def _group(pid: int) -> str | None:
    """The path of a process's group in version 2's hierarchy."""
    return next((line[3:] for line in _lines(f"/proc/{pid}/cgroup") if line.startswith("0::")), None)


def _mount_point() -> str | None:
    for line in _lines("/proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields = before.split()
        if after.startswith("cgroup2 ") and len(fields) > 4 and fields[3] == "/":
            return fields[4]
    return None


def _processes(folder: str) -> Iterator[int]:
    for path, _, _ in os.walk(folder):
        yield from map(int, _lines(f"{path}/cgroup.procs"))


def _is_orphan(pid: int, tree: set[int]) -> bool:
    """Whether nobody of us, but for the tree, is among the ancestors of `pid`."""
    ours = set(_ancestors(os.getpid()))
    return pid not in ours and os.getpid() not in _ancestors(pid, tree)


def _ancestors(pid: int, until: AbstractSet[int] = frozenset()) -> Iterator[int]:
    while pid and pid not in until:
        yield pid
        status = _native.process_status(pid)
        pid = 0 if status is None else status[0]


def _lines(path: str) -> list[str]:
    with suppress(OSError), open(path, encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
        return file.read().splitlines()
    return []


def _write(path: str, text: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)
