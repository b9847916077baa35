"""The zygote as its clients see it: a small process that forks children on request.

    client                          zygote                      child
    a pair of sockets:
    one end --- the line ---------> fork ---------------------> waits for its go
    the other <-- pid, pidfd ------ keeps the first
    watches the pidfd, then go: data and descriptors ---------> begins
                                    collects it     <---------- ends, and says its exit code
              <-- exit status -----

The line is one end of another such pair. Who has it may ask: it has no name in the file
system or anywhere else, and comes by inheritance only. A zygote ends when nobody has it.

A child does nothing before its go. So a request that met a dying zygote is asked again of
the next one: no child can have begun. A child whose zygote is gone is still watched by its
pidfd; its exit status is then the kernel's, where that tells, or what it said itself.
"""

import os
import select
import socket
import struct
import threading
from contextlib import suppress
from multiprocessing import spawn
from typing import Final

from procession._base import memory_file
from procession._base.descriptor import Descriptor
from procession._launch import command
from procession._launch.arrival import here
from procession._launch.execute import execute

ATTEMPTS: Final = 3  # zygotes that may die under one request

BORN: Final = struct.Struct("=ci")  # b"P" and a pid, or b"E" and an errno
ENDED: Final = struct.Struct("=ci")  # b"S" and a wait status, or b"C" and the exit code that the child says
GO: Final = struct.Struct("=I")  # how many descriptors the child gets
BATCH: Final = 200  # descriptors in one message; the kernel takes 253


class _Gone(Exception):
    """The zygote ended before it answered."""


class Child:
    """What a zygote answered: a child that waits for its go."""

    def __init__(self, pid: int, pidfd: int, reply: socket.socket) -> None:
        self.pid, self.pidfd, self.reply = pid, pidfd, reply

    def go(self, descriptors: list[int]) -> None:
        """Let it begin with these descriptors."""
        self.reply.send(GO.pack(len(descriptors)))
        for first in range(0, len(descriptors), BATCH):
            socket.send_fds(self.reply, [b"."], descriptors[first : first + BATCH])


class Zygote:
    """This process's way to its zygote, which it starts when there is none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line: Descriptor | None = None
        self._pid: int | None = None
        self._parent = os.getpid()
        self.preload: list[str] = ["__main__"]
        os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        self._lock = threading.Lock()  # another thread may have held it

    def ensure_running(self) -> None:
        """Start the zygote unless it runs."""
        with self._lock:
            self._ensure_line()

    def line(self) -> int:
        """The descriptor to ask through, for a child that is to have it too."""
        with self._lock:
            return self._ensure_line()

    @property
    def pid(self) -> int | None:
        """The zygote's pid, if this process started it."""
        return self._pid if self._parent == os.getpid() else None

    def _ensure_line(self) -> int:
        if self._line is None and here.line >= 0:
            self._line, here.line = Descriptor(here.line), -1
        if self._line is not None and self._line.is_open() and not _is_hung_up(self._line.fileno()):
            return self._line.fileno()
        self._bury()
        return self._launch()

    def _bury(self) -> None:
        if self._line is not None:
            self._line.close()
        pid, self._line, self._pid = self.pid, None, None
        if pid is not None:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def _launch(self) -> int:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, its:
            configuration = memory_file.holding(_configuration(self.preload))
            made: list[int] = []
            try:
                words = command.call("procession._launch.zygote_main", "main", its.fileno(), configuration)
                execute(made, command.interpreter(), words, [its.fileno(), configuration])
            finally:
                os.close(configuration)
            self._line, self._pid, self._parent = (
                Descriptor(ours.detach(), everywhere=True),
                made[0],
                os.getpid(),
            )
        return self._line.fileno()

    def fork(self) -> Child:
        """A new child that waits for its go. EOFError when no zygote lives long enough to make one."""
        for _ in range(ATTEMPTS):
            with suppress(_Gone):
                return self._ask(self.line())
        raise EOFError(
            f"the fork server ended {ATTEMPTS} times before it started the process; "
            f"does a module that it preloads ({', '.join(self.preload)}) end it?"
        )

    def _ask(self, line: int) -> Child:
        reply, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with its:
                _send(line, its.fileno())
            return _answer(reply)
        except BaseException:
            reply.close()
            raise

    def stop(self) -> None:
        """Give up the line, and wait for the zygote's end if it is ours and nobody else has the line."""
        with self._lock:
            self._bury()


def _is_hung_up(line: int) -> bool:
    poll = select.poll()
    poll.register(line, 0)
    return bool(poll.poll(0))


def _send(line: int, fd: int) -> None:
    with socket.socket(fileno=os.dup(line)) as asking:
        try:
            socket.send_fds(asking, [b"."], [fd])
        except (BrokenPipeError, ConnectionError) as error:
            raise _Gone from error


def _answer(reply: socket.socket) -> Child:
    try:
        message, fds, _, _ = socket.recv_fds(reply, BORN.size, 1, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError as error:
        raise _Gone from error
    if not message:
        raise _Gone
    kind, number = BORN.unpack(message)
    if kind == b"E":
        raise OSError(number, f"the fork server cannot start a process: {os.strerror(number)}")
    return Child(number, fds[0], reply)


def _configuration(preload: list[str]) -> bytes:
    import pickle  # noqa: PLC0415

    data = spawn.get_preparation_data("zygote") if preload else {}
    wanted = {"procession", "sys_path", "sys_argv", "orig_dir", "init_main_from_name", "init_main_from_path"}
    return pickle.dumps((preload, {key: data[key] for key in wanted & data.keys()}))


zygote = Zygote()
"""This process's."""


def set_preload(modules: list[str]) -> None:
    """Modules that the next zygote imports before it serves."""
    if not all(type(name) is str for name in modules):
        raise TypeError("module_names must be a list of strings")
    zygote.preload = modules
