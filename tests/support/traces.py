"""What a process leaves behind: looked at before something, compared after it."""

import contextlib
import gc
import os
import pathlib
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from multiprocessing import util
from typing import Any

SETTLE = 5.0  # seconds a dying child or a closing descriptor may take before it counts as left behind


@contextlib.contextmanager
def private_temporary_folder() -> Iterator[None]:
    """Files of other programs come and go in /tmp: whoever looks at its traces has a folder of its own."""
    util.get_temp_dir()  # where listeners without an address are: a process makes it once, and removes it when it ends
    before = os.environ.get("TMPDIR"), tempfile.tempdir
    folder = tempfile.mkdtemp(prefix="procession-tests-")
    os.environ["TMPDIR"], tempfile.tempdir = folder, folder
    yield
    tempfile.tempdir = before[1]
    os.environ.pop("TMPDIR")
    if before[0] is not None:
        os.environ["TMPDIR"] = before[0]
    shutil.rmtree(folder, ignore_errors=True)


class Traces:
    """Children, threads, descriptors, files and arena of this process."""

    def __init__(self) -> None:
        gc.collect()
        self.children = children()
        self.threads = set(threading.enumerate())
        self.descriptors = descriptors()
        self.files = files()
        self.objects = arena_report()[1]

    def settle(self) -> list[str]:
        """What is still there that was not before, once what was ending has ended."""
        give_up = time.monotonic() + SETTLE
        while left := self.left():
            if time.monotonic() > give_up:
                break
            time.sleep(0.01)
        return left

    def left(self) -> list[str]:
        gc.collect()
        left = [
            f"process {pid}: {command}" for pid, command in children().items() if pid not in self.children
        ]
        left += [f"thread {thread.name}" for thread in threading.enumerate() if thread not in self.threads]
        left += [
            f"descriptor {fd}: {target}"
            for fd, target in descriptors().items()
            if self.descriptors.get(fd) != target
        ]
        left += [f"file {path}" for path in sorted(files() - self.files)]
        faults, objects = arena_report()
        left += faults
        if objects > self.objects:
            left.append(
                f"{objects - self.objects} objects in the arena ({objects}, before it was {self.objects})"
            )
        return left


def arena_report() -> tuple[list[str], int]:
    """Faults in the arena, swept first; and how many objects live in it that nothing pins."""
    try:
        from procession import _native
    except ImportError:  # the tests of the tests, on the standard library alone
        return [], 0
    if not _native.has_arena():
        return [], 0
    _native.sweep()
    report = _native.fsck()
    faults = [f"inconsistent arena: {text}" for text in report["inconsistent"]]
    faults += [f"leaked in the arena: {text}" for text in report["leaked"]]
    return faults, report["objects"] - report["pinned"]


def children() -> dict[int, str]:
    """Pids of this process's children, zombies too, with their command lines; helpers left out."""
    pids: dict[int, str] = {}
    for task in pathlib.Path("/proc/self/task").iterdir():
        for pid in _read(task / "children").split():
            command = _read(pathlib.Path("/proc", pid, "cmdline")).replace("\0", " ").strip()
            pids[int(pid)] = command or "(zombie)"
    for pid in helpers()[0]:
        pids.pop(pid, None)
    return pids


def descriptors() -> dict[int, str]:
    """Open descriptors and what they are; the arena's and the helpers' left out."""
    found: dict[int, str] = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the listing's own
    ours = helpers()[1]
    # The standard library's heap keeps its arenas (pym-...); ours is named after us.
    kept = ("procession", "/pym-")
    return {
        fd: target
        for fd, target in found.items()
        if fd not in ours and not any(name in target for name in kept)
    }


def files() -> set[str]:
    found = {str(path) for path in pathlib.Path("/dev/shm").glob("*")}
    found |= {str(path) for path in pathlib.Path(tempfile.gettempdir()).iterdir()}
    return {path for path in found if "/pytest-of-" not in path}


def helpers() -> tuple[set[int], set[int]]:
    """Pids and descriptors of the resource tracker, the fork server and the zygote, which live as long as we do."""
    pids: set[int | None] = set()
    fds: set[int | None] = set()
    if tracker := _attribute(sys.modules, "multiprocessing.resource_tracker", "_resource_tracker"):
        pids.add(tracker._pid)
        fds.add(tracker._fd)
    if server := _attribute(sys.modules, "multiprocessing.forkserver", "_forkserver"):
        pids.add(server._forkserver_pid)
        fds.add(server._forkserver_alive_fd)
    if (
        zygote := _attribute(sys.modules, "procession._launch.zygote", "zygote")
    ) and zygote._line is not None:
        pids.add(zygote.pid)
        fds.add(zygote._line.end.fileno())
    return {pid for pid in pids if pid}, {fd for fd in fds if fd}


def _attribute(modules: Any, module: str, name: str) -> Any:
    return getattr(modules[module], name) if module in modules else None


def _read(path: pathlib.Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
