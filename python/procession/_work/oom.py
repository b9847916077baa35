"""Whether the kernel ended a worker for want of memory: what its counters say, which name nobody.

    the machine            /proc/vmstat                                  oom_kill
    our control group      memory.events or, in version 1, memory.oom_control    oom_kill

A worker that was ended by SIGKILL while the machine's count stood still was not the kernel's choice. It was when
the group's rose by as many as there are such workers. Else nobody can tell: another group's process may have been
chosen, or the group may not be accounted for.
"""

from collections.abc import Iterator
from contextlib import suppress

_VMSTAT = "/proc/vmstat"
_GROUPS = "/proc/self/cgroup"
_MOUNTS = "/proc/self/mountinfo"


class Counters:
    """The counts as they were when they were last looked at."""

    def __init__(self) -> None:
        self._file = _group_file()
        self._machine, self._group = self._read()

    def _read(self) -> tuple[int | None, int | None]:
        return _count(_VMSTAT), _count(self._file) if self._file else None

    def judge(self, shot: int) -> bool | None:
        """Whether the kernel ended the workers, so many, that SIGKILL has ended since the last look; None: perhaps."""
        machine, group = self._read()
        before = self._machine, self._group
        self._machine, self._group = machine, group
        if not shot or (machine is not None and machine == before[0]):
            return False
        if group is not None and before[1] is not None and group - before[1] >= shot:
            return True
        return None


def _lines(path: str) -> Iterator[str]:
    with suppress(OSError), open(path, encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
        yield from file


def _count(path: str) -> int | None:
    for line in _lines(path):
        name, _, number = line.partition(" ")
        if name == "oom_kill":
            return int(number)
    return None


def _group_file() -> str | None:
    """The file with our group's count: of version 1's memory controller if that is in use, else of version 2."""
    groups = {}
    for line in _lines(_GROUPS):
        _, controllers, path = line.rstrip("\n").split(":", 2)
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
    for line in _lines(_MOUNTS):
        before, _, after = line.rstrip("\n").partition(" - ")
        (_, _, _, root, point, *_), (mounted, _, options) = before.split(), after.split(" ", 2)
        if mounted != kind or (controller and controller not in options.split(",")):
            continue
        root = root.rstrip("/")
        if f"{group}/".startswith(f"{root}/"):  # else it lies outside of what is mounted
            return point + group[len(root) :].rstrip("/")
    return None
