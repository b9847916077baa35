"""What this process may use: address space, file size, descriptors, processes, memory of its control groups."""

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from procession._cli.doctor.finding import Finding, State

SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108  the system's, not ours
_GROUP: Final = "limits"
GIB: Final = 1 << 30
MIB: Final = 1 << 20
ARENA: Final = 64 * GIB  # what is asked for unless PROCESSION_ARENA says otherwise
SMALLEST_ARENA: Final = 32 * MIB
_ROOMY: Final = 4 * ARENA  # address space in which the arena is mapped in one piece
_FEW_DESCRIPTORS: Final = 64
_FEW_PROCESSES: Final = 64
_LITTLE_MEMORY: Final = 64 * MIB
_UNLIMITED_FROM: Final = 1 << 60  # version 1 writes a huge number


def size(number: float) -> str:
    """Bytes, as people say them."""
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if number < 1024 or unit == "TiB":
            return f"{number:.0f} {unit}" if number == int(number) else f"{number:.1f} {unit}"
        number /= 1024
    raise AssertionError


def findings() -> Iterator[Finding]:
    yield _address_space()
    yield _file_size()
    yield _descriptors()
    yield _processes()
    yield _memory()
    yield _shared_memory_folder()


def _soft(what: int) -> int | None:
    limit = resource.getrlimit(what)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def _address_space() -> Finding:
    limit = _soft(resource.RLIMIT_AS)
    if limit is None or limit >= _ROOMY:
        return Finding("address_space", _GROUP, State.OK, _of(limit, size))
    return Finding(
        "address_space",
        _GROUP,
        State.WARNING,
        size(limit),
        "the shared memory is mapped in small windows, which is slower: raise it (ulimit -v unlimited)",
    )


def _of(limit: int | None, words: object = str) -> str:
    if limit is None:
        return "no limit"
    return str(words(limit)) if callable(words) else str(limit)


def _file_size() -> Finding:
    limit = _soft(resource.RLIMIT_FSIZE)
    if limit is None or limit >= ARENA:
        return Finding("file_size", _GROUP, State.OK, _of(limit, size))
    state = State.WARNING if limit >= SMALLEST_ARENA else State.FAILED
    remedy = "all shared objects together can be no larger: raise it (ulimit -f unlimited)"
    return Finding("file_size", _GROUP, state, size(limit), remedy)


def _descriptors() -> Finding:
    limit, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_here = Path("/proc/self/fd")
    used = len(list(open_here.iterdir())) if open_here.is_dir() else 0
    detail = f"{limit}, of which {used} are open here"
    if limit - used >= _FEW_DESCRIPTORS:
        return Finding("descriptors", _GROUP, State.OK, detail)
    remedy = f"each running child takes one: raise it (ulimit -n {hard})"
    return Finding("descriptors", _GROUP, State.WARNING, detail, remedy)


def _processes() -> Finding:
    limit = _soft(resource.RLIMIT_NPROC)
    if limit is None or limit >= _FEW_PROCESSES:
        return Finding("processes", _GROUP, State.OK, _of(limit))
    remedy = "it counts all processes and threads of the user: raise it (ulimit -u)"
    return Finding("processes", _GROUP, State.WARNING, str(limit), remedy)


@dataclass(frozen=True, slots=True)
class GroupLimit:
    """A control group that bounds memory."""

    folder: Path
    limit: int
    used: int

    @property
    def left(self) -> int:
        return max(0, self.limit - self.used)


def _memory() -> Finding:
    groups = list(memory_groups())
    if not groups:
        return Finding("cgroup_memory", _GROUP, State.OK, "no limit")
    tightest = min(groups, key=lambda group: group.left)
    detail = f"{size(tightest.left)} left of {size(tightest.limit)} ({tightest.folder})"
    if tightest.left >= _LITTLE_MEMORY:
        return Finding("cgroup_memory", _GROUP, State.OK, detail)
    remedy = "shared objects are refused (MemoryError) before the kernel kills for them: give the container more memory"
    return Finding("cgroup_memory", _GROUP, State.WARNING, detail, remedy)


def memory_groups(root: Path = Path("/sys/fs/cgroup"), membership: str | None = None) -> Iterator[GroupLimit]:
    """The groups of this process and their ancestors that have a limit, of version 1 and 2."""
    if membership is None:
        try:
            membership = Path("/proc/self/cgroup").read_text()
        except OSError:
            membership = ""
    for line in membership.splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            top = root / "unified" if (root / "unified").is_dir() else root
            yield from _upwards(top, group, "memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            yield from _upwards(root / "memory", group, "memory.limit_in_bytes", "memory.usage_in_bytes")


def _upwards(root: Path, group: str, limit_name: str, usage_name: str) -> Iterator[GroupLimit]:
    # Inside a container the group's own folder may not be visible: the mount's root then stands for it.
    parts = [part for part in group.split("/") if part not in ("", "..")]
    for length in range(len(parts), -1, -1):
        folder = root.joinpath(*parts[:length])
        limit, used = _number(folder / limit_name), _number(folder / usage_name)
        if limit is not None and used is not None and limit < _UNLIMITED_FROM:
            yield GroupLimit(folder, limit, used)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _shared_memory_folder() -> Finding:
    try:
        found = os.statvfs(SHARED_MEMORY)
    except OSError as error:
        detail, free = error.strerror or "", 0
    else:
        free = found.f_bavail * found.f_frsize
        detail = f"{size(free)} free in /dev/shm"
    if free >= _LITTLE_MEMORY:
        return Finding("dev_shm", _GROUP, State.OK, detail)
    remedy = "procession does not need it where memfd works; the standard library's SharedMemory does (docker --shm-size)"
    return Finding("dev_shm", _GROUP, State.ABSENT, detail or "absent", remedy)
