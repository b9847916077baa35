"""The kernel's facilities by which processes are started, watched and ended."""

import fcntl
import os
import select
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NoReturn

from procession._cli.doctor.finding import Probe, State, Unfit

_GROUP: Final = "processes"
_PATIENCE: Final = 5.0  # seconds for a child that is to say something
_CGROUP: Final = Path("/sys/fs/cgroup")
# _IOWR(0xFF, 11, struct pidfd_info) with the structure's first edition of 64 bytes.
_PIDFD_GET_INFO: Final = 0xC040FF0B
_PIDFD_INFO: Final = struct.Struct("QQ48x")
_PIDFD_INFO_PID: Final = 1


def _libc() -> Any:
    """Imported by the probe that needs it: some interpreters are built without ctypes."""
    return import_module("procession._cli.doctor.libc")


def _sleep() -> NoReturn:
    while True:
        signal.pause()


@contextmanager
def _child(life: Callable[[], object] = _sleep) -> Iterator[int]:
    """A child that lives its life, and is gone afterwards."""
    pid = os.fork()
    if pid == 0:
        try:
            life()
        finally:
            os._exit(0)
    try:
        yield pid
    finally:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _pidfd() -> str:
    with _child() as pid:
        pidfd = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            if not select.select([pidfd], [], [], _PATIENCE)[0]:
                raise Unfit("a pidfd does not tell of the end")
            ended = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
            if ended is None or ended.si_status != signal.SIGKILL:
                raise Unfit("a pidfd tells another status")
        finally:
            os.close(pidfd)
    return "processes are held by descriptor, not by number"


def _eventfd() -> str:
    fd = os.eventfd(1, os.EFD_CLOEXEC)
    try:
        if os.eventfd_read(fd) != 1:
            raise Unfit("an eventfd counts wrong")
    finally:
        os.close(fd)
    return "queues can be waited for with select()"


def _passing() -> str:
    one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, two:
        socket.send_fds(one, [b"."], [one.fileno()])
        _, fds, _, _ = socket.recv_fds(two, 1, 1)
        for fd in fds:
            os.close(fd)
        if len(fds) != 1:
            raise Unfit("the descriptor did not arrive")
    return "descriptors travel between processes"


def _death_signal() -> str:
    """A grandchild asks to be killed when its parent ends; its end closes the pipe, in which it says what went wrong."""
    reader, writer = os.pipe()

    def have_a_child() -> None:
        ready, go = os.pipe()
        if os.fork() == 0:
            signal.alarm(int(2 * _PATIENCE))  # lest it stay where the signal does not come
            try:
                _libc().prctl(_libc().PR_SET_PDEATHSIG, signal.SIGKILL)
            except OSError as error:
                os.write(writer, bytes([error.errno or 0]))
                os._exit(1)
            os.write(go, b".")
            _sleep()
        os.close(writer)
        os.read(ready, 1)

    try:
        with _child(have_a_child):
            os.close(writer)
            if not select.select([reader], [], [], _PATIENCE)[0]:
                raise Unfit("a process outlived its parent by seconds")
            if answer := os.read(reader, 1):
                raise OSError(answer[0], os.strerror(answer[0]))
    finally:
        os.close(reader)
    return "a worker whose parent was killed is told at once"


def _own_cgroup() -> Path:
    """The folder of this process's group in the unified hierarchy."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            root = _CGROUP / "unified" if (_CGROUP / "unified").is_dir() else _CGROUP
            folder = root / line.removeprefix("0::").lstrip("/")
            return folder if folder.is_dir() else root
    raise Unfit("this process is in no control group of version 2")


def _cgroup_kill() -> str:
    """A group of its own is made, a child put into it, and killed with it."""
    group = _own_cgroup() / f"procession-doctor-{os.getpid()}"
    group.mkdir()
    try:
        with _child() as pid:
            (group / "cgroup.procs").write_text(str(pid))
            (group / "cgroup.kill").write_text("1")
            pidfd = os.pidfd_open(pid)
            ended = select.select([pidfd], [], [], _PATIENCE)[0]
            os.close(pidfd)
            if not ended:
                raise Unfit("cgroup.kill did not kill")
    finally:
        _remove(group)
    return f"{group.parent} is delegated to this process"


def _remove(group: Path) -> None:
    """Remove an empty group, which counts its dead for a moment more."""
    for _ in range(1000):
        try:
            group.rmdir()
        except OSError:
            select.select([], [], [], 0.001)
        else:
            return


def _pidfd_info() -> str:
    pidfd = os.pidfd_open(os.getpid())
    try:
        asked = bytearray(_PIDFD_INFO.pack(_PIDFD_INFO_PID, 0))
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, asked)
        if int.from_bytes(asked[16:20], "little") != os.getpid():
            raise Unfit("a pidfd tells another process")
    finally:
        os.close(pidfd)
    return "a pidfd tells whom it holds"


PROBES: Final = (
    Probe("pidfd", _GROUP, _pidfd, State.FAILED,
          "pidfds that can be waited for are in Linux from 5.4 on; a container may refuse pidfd_open: allow it"),
    Probe("eventfd", _GROUP, _eventfd, State.FAILED, "allow eventfd2 in the container's seccomp filter"),
    Probe("descriptor_passing", _GROUP, _passing, State.WARNING,
          "spawn and forkserver pass descriptors over Unix sockets: allow them, or use the start method fork"),
    Probe("parent_death_signal", _GROUP, _death_signal, State.WARNING,
          "workers of a killed parent end only at their next wait: allow prctl(PR_SET_PDEATHSIG)"),
    Probe("cgroup_kill", _GROUP, _cgroup_kill, State.ABSENT,
          "whole trees are killed by a walk instead; to delegate: systemd-run --user --scope -p Delegate=yes COMMAND"),
    Probe("pidfd_info", _GROUP, _pidfd_info, State.ABSENT, "in Linux from 6.13 on; /proc is read instead"),
)  # fmt: skip
