"""Whether the kernel ended a worker for want of memory: what its counters say, which name nobody.

    the machine            /proc/vmstat                                  oom_kill
    our control group      memory.events or, in version 1, memory.oom_control    oom_kill

A worker that was ended by SIGKILL while the machine's count stood still was not the kernel's choice. It was when
the group's rose by as many as there are such workers. Else nobody can tell: another group's process may have been
chosen, or the group may not be accounted for.
"""

import os
from functools import cache

_VMSTAT = "/proc/vmstat"
_GROUPS = "/proc/self/cgroup"
_MOUNTS = "/proc/self/mountinfo"


class Counters:
    """The counts as they were when they were last looked at."""

    def __init__(self) -> None:
        self._file = _group_file()
        self._machine, self._group = _count(_VMSTAT), self._count_group()

    def _count_group(self) -> int | None:
        return _count(self._file) if self._file else None

    def judge(self, shot: int) -> bool | None:
        """Whether the kernel ended the workers, so many, that SIGKILL has ended since the last look; None: perhaps."""
        machine = _count(_VMSTAT)
        if machine is not None and machine == self._machine:  # and so is every group's
            return False
        before, group = self._group, self._count_group()
        self._machine, self._group = machine, group
        if not shot:
            return False
        if group is not None and before is not None and group - before >= shot:
            return True
        return None


def _read(path: str) -> str:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            return os.fsdecode(file.read())
    except OSError:
        return ""


def _count(path: str) -> int | None:
    _, found, after = f"\n{_read(path)}".partition("\noom_kill ")
    return int(after.partition("\n")[0]) if found else None


@cache
def _group_file() -> str | None:
    """The file with our group's count: of version 1's memory controller if that is in use, else of version 2.

    Found once: a process that has been moved since hears "perhaps" where it could have heard yes.
    """
    groups = {}
    for line in _read(_GROUPS).split("\n")[:-1]:
        _, controllers, path = line.split(":", 2)
        groups.update(dict.fromkeys(controllers.split(","), path))
    for controller, kind, name in (
        ("memory", "cgroup", "memory.oom_control"),
        ("", "cgroup2", "memory.events"),
    ):
        if controller in groups and (folder := _folder(kind, controller, groups[controller])):
            return f"{folder}/{name}"
    return None


def _folder(kind: str, controller: str, group: str) -> str | None:
    """Where a group of that hierarchy is mounted."""
    for line in _read(_MOUNTS).split("\n")[:-1]:
        before, _, after = line.partition(" - ")
        (_, _, _, root, point, *_), (mounted, _, options) = before.split(), after.split(" ", 2)
        if mounted != kind or (controller and controller not in options.split(",")):
            continue
        root = root.rstrip("/")
        if f"{group}/".startswith(f"{root}/"):  # else it lies outside of what is mounted
            return point + group[len(root) :].rstrip("/")
    return None
