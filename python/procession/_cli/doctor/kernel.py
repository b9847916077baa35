"""The kernel's facilities that the shared memory and its locks rest on."""

import errno
import fcntl
import mmap
import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, Final

from procession._base import platform
from procession._cli.doctor import limits
from procession._cli.doctor.finding import Probe, State, Unfit

_FLOCK: Final = struct.Struct("hhqqi4x")  # type, whence, start, length, pid
_GROUP: Final = "kernel"
_FOLDERS: Final = (limits.SHARED_MEMORY, tempfile.gettempdir())  # where the core looks, in its order
_SECCOMP: Final = "a seccomp filter of the container may refuse it: allow the call, or run without the filter"


def _libc() -> Any:
    """Imported by the probe that needs it: some interpreters are built without ctypes."""
    return import_module("procession._cli.doctor.libc")


def _version() -> str:
    release = os.uname().release
    if platform.kernel_version(release) < platform.OLDEST_KERNEL:
        raise Unfit(f"Linux {release}")
    return f"Linux {release}"


# ---- files ---------------------------------------------------------------------


@contextmanager
def _memory_file() -> Iterator[int]:
    """A file for the other probes, whichever can be had."""
    fd = _any_file()
    try:
        yield fd
    finally:
        os.close(fd)


def _any_file() -> int:
    with suppress(OSError, AttributeError):
        return os.memfd_create("procession-doctor")
    for folder in _FOLDERS:
        with suppress(OSError):
            return _unnamed_in(folder)
    raise Unfit("there is no file to try it on")


def _unnamed_in(folder: str) -> int:
    return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)


def _memfd() -> str:
    fd = os.memfd_create("procession-doctor", os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, mmap.PAGESIZE)
        if os.pwrite(fd, b"procession", 0) != len(b"procession"):
            raise Unfit("a short write")
    finally:
        os.close(fd)
    return "memfd_create gives files without a name"


def _temporary_file() -> str:
    for folder in _FOLDERS:
        try:
            os.close(_unnamed_in(folder))
        except OSError:
            continue
        return f"O_TMPFILE works in {folder}"
    raise Unfit(f"O_TMPFILE works neither in {' nor in '.join(_FOLDERS)}")


def _fallocate() -> str:
    with _memory_file() as fd:
        os.ftruncate(fd, 1 << 20)
        _libc().fallocate(fd, 0, 0, 1 << 16)
        if os.fstat(fd).st_blocks * 512 < 1 << 16:
            raise Unfit("fallocate reserved nothing")
    return "memory is reserved before it is used"


def _punch_hole() -> str:
    with _memory_file() as fd:
        os.ftruncate(fd, 1 << 20)
        _libc().fallocate(fd, 0, 0, 1 << 16)
        _libc().fallocate(fd, _libc().FALLOC_FL_PUNCH_HOLE | _libc().FALLOC_FL_KEEP_SIZE, 0, 1 << 16)
        if os.fstat(fd).st_blocks:
            raise Unfit("the hole kept its memory")
    return "unused memory goes back to the kernel"


# ---- identity ------------------------------------------------------------------


def _is_locked(fd: int) -> bool:
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
    kind: int = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))[0]
    return kind != fcntl.F_UNLCK


def _liveness_lock() -> str:
    """What proves that a process lives: a lock that only a page of its memory map keeps."""
    with _memory_file() as fd:
        os.ftruncate(fd, mmap.PAGESIZE)
        private = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.fcntl(private, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0))
            pin = _libc().Page(private)
        finally:
            os.close(private)
        pin.advise(mmap.MADV_DONTFORK)
        if not _is_locked(fd):
            raise Unfit("a mapping does not keep a lock")
        pin.close()
        if _is_locked(fd):
            raise Unfit("a lock outlives its file")
    return "a lock on an open file lives as long as a mapping of it"


def _reopening() -> str:
    with _memory_file() as fd:
        again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
        try:
            if not os.path.samestat(os.fstat(fd), os.fstat(again)):
                raise Unfit("/proc/self/fd opens another file")
        finally:
            os.close(again)
    return "/proc/self/fd opens files again"


def _wiped_on_fork() -> str:
    page = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    page.madvise(_libc().MADV_WIPEONFORK)
    page[0] = 1
    pid = os.fork()
    if pid == 0:
        os._exit(page[0])
    is_kept = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    page.close()
    if is_kept:
        raise Unfit("a child found the page as its parent had it")
    return "a child by fork is noticed"


def _futex() -> str:
    page = mmap.mmap(-1, mmap.PAGESIZE)  # shared
    with page:
        page[:4] = (1).to_bytes(4, "little")
        try:
            _libc().futex(page, _libc().FUTEX_WAIT, 0)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
        if _libc().futex(page, _libc().FUTEX_WAKE, 1) != 0:
            raise Unfit("it woke somebody where nobody slept")
    return "processes sleep on words of shared memory"


PROBES: Final = (
    Probe("kernel", _GROUP, _version, State.FAILED, "procession needs Linux 5.4 or newer: update the system"),
    Probe("memfd", _GROUP, _memfd, State.ABSENT,
          "the shared memory goes into an unlinked file of /dev/shm or TMPDIR instead; " + _SECCOMP),
    Probe("tmpfile", _GROUP, _temporary_file, State.ABSENT,
          "needed only where memfd is refused: then mount a tmpfs on /dev/shm, or point TMPDIR to one"),
    Probe("fallocate", _GROUP, _fallocate, State.FAILED,
          "without it a full memory ends programs by SIGBUS: use a file system that has it; " + _SECCOMP),
    Probe("punch_hole", _GROUP, _punch_hole, State.ABSENT,
          "memory that was used once stays the program's until it ends"),
    Probe("ofd_locks", _GROUP, _liveness_lock, State.FAILED,
          "nobody could tell who is dead: use a kernel and a file system with open-file-description locks; " + _SECCOMP),
    Probe("proc", _GROUP, _reopening, State.FAILED, "mount /proc"),
    Probe("wipe_on_fork", _GROUP, _wiped_on_fork, State.FAILED,
          "madvise(MADV_WIPEONFORK) is in Linux from 4.14 on; gVisor and the like lack it: run on the host's kernel"),
    Probe("futex", _GROUP, _futex, State.FAILED, _SECCOMP),
)  # fmt: skip
