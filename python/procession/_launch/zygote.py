"""The zygote as its clients see it: a small process that forks children on request.

    client                          zygote                      child
    a pair of sockets:
    one end --- the line ---------> hands it on --------------> is born:
    the other <---------------------------------- pid, pidfd -- waits for its go
    watches the pidfd, then go: data and descriptors ---------> begins
                                    collects it     <---------- ends, and says its exit code
              <-- exit status, memory

The line is one end of another such pair. Who has it may ask: it has no name in the file
system or anywhere else, and comes by inheritance only. A zygote ends when nobody has it.

A child does nothing before its go. So a request that met a dying zygote is asked again of
the next one: no child can have begun. The client is told of a child by the child, and by
nobody else: wherever the zygote dies, whoever then has the other end goes on, or nobody
has it and the client sees it closed. A child whose zygote is gone is still watched by its
pidfd; its exit status is then the kernel's, where that tells, or what it said itself.
"""

import errno
import os
import pickle
import select
import socket
import sys
import threading
from contextlib import suppress
from multiprocessing import process
from struct import Struct
from typing import Final, NamedTuple

from procession._base import descriptor, memory_file
from procession._launch import arrival, command, datagram, preparation
from procession._launch.execute import execute

ATTEMPTS: Final = 3  # zygotes that may die under one request
DYING: Final = 1000  # milliseconds in which a process that has closed one descriptor closes the next

ASK: Final = Struct("=i")  # the pid of who asks for a child
BORN: Final = Struct("=ci")  # b"P" and a pid, b"E" and an errno, or ENDED: it was killed before it spoke
# b"S", a wait status, KiB of memory at most; or b"C", the exit code that the child says, and 0.
ENDED: Final = Struct("=ciq")
GO: Final = Struct("=III")  # descriptors, bytes of the head, bytes of the body
FILED: Final = 0xFFFF_FFFF  # for the body's: head and body are a file, the first descriptor
INLINE: Final = 1 << 15  # bytes that are sent in the go itself

OFTEN: Final = ("procession._work.worker", "procession._work.answers")
"""What many children need, if the process that starts the zygote has it: it is imported there once."""


class Child(NamedTuple):
    """A child that waits for its go."""

    pid: int
    pidfd: int
    reply: socket.socket


class _StillbornError(Exception):
    """Somebody has killed the child before it could say that it waits."""


class Line:
    """A way to a zygote, closed when nobody uses it. A forked child's copy is as good as its parent's."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self._file = descriptor.identity(end.fileno())

    def is_good(self) -> bool:
        """Whether a zygote listens, and the descriptor is still what it was."""
        return self.is_ours() and not self._poll(0)

    def is_ours(self) -> bool:
        """False when the program has closed the descriptor."""
        return descriptor.means(self.end.fileno(), self._file)

    def is_dead(self) -> bool:
        """Whether the zygote has ended, or ends now."""
        return not self.is_ours() or self._poll(DYING)

    def _poll(self, milliseconds: int) -> bool:
        poll = select.poll()
        poll.register(self.end, 0)  # hanging up is told unasked
        return bool(poll.poll(milliseconds))

    def __del__(self) -> None:
        if self.is_ours():
            self.end.close()
        else:
            self.end.detach()


class Zygote:
    """This process's way to its zygote, which it starts when there is none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line: Line | None = None
        self._started: list[tuple[int, int]] = []  # our zygotes: who started it, its pid
        self.preload: list[str] = ["__main__"]
        os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        self._lock = threading.Lock()  # another thread may have held it

    def ensure_running(self) -> None:
        """Start the zygote unless it runs."""
        self.line()

    def line(self) -> Line:
        """What to ask through; a child of the zygote is given it, too. Hold on to it while its descriptor is used."""
        with self._lock:
            if self._line is None and arrival.here.line >= 0:
                self._line, arrival.here.line = Line(datagram.adopt(arrival.here.line)), -1
            if self._line is None or not self._line.is_good():
                self._leave()
                self._launch()
            return self._line  # type: ignore[return-value]

    @property
    def pid(self) -> int | None:
        """The zygote's pid, if this process started it."""
        parent, pid = self._started[-1] if self._started else (0, 0)
        return pid if parent == os.getpid() else None

    def _leave(self) -> None:
        self._line = None  # another thread may be asking through it
        self._collect(os.WNOHANG)

    def _collect(self, options: int) -> None:
        for parent, pid in list(self._started):
            if parent == os.getpid():
                with suppress(ChildProcessError):
                    if os.waitpid(pid, options) == (0, 0):
                        continue
            self._started.remove((parent, pid))

    def _launch(self) -> None:
        ours, its = datagram.pair()
        made: list[int] = []
        with its:
            configuration = memory_file.holding(_configuration(self.preload))
            try:
                words = command.of_zygote(its.fileno(), configuration)
                execute(made, words[0], words, [its.fileno(), configuration])
            finally:
                os.close(configuration)
                self._started += [(os.getpid(), pid) for pid in made]
            self._line = Line(ours)

    def fork(self) -> Child:
        """A new child that waits for its go. EOFError when no zygote lives long enough to make one."""
        for _ in range(ATTEMPTS):
            line = self.line()
            try:
                return _ask(line.end)
            except _StillbornError:
                continue
            except datagram.GoneError:
                if line.is_dead():
                    continue
            raise OSError(
                errno.EMFILE, "the fork server has no descriptors left: raise its limit (ulimit -n)"
            )
        raise EOFError(
            f"the fork server ended {ATTEMPTS} times before it had started the process; "
            f"does a module that it preloads ({', '.join(self.preload)}) end it?"
        )

    def stop(self) -> None:
        """Give up the line, and wait for the end of the zygote, for as long as others have it."""
        with self._lock:
            self._leave()
            self._collect(0)


def _ask(line: socket.socket) -> Child:
    reply, its = datagram.pair()
    try:
        with its:
            me = os.pidfd_open(os.getpid())
            try:
                datagram.send(line, [ASK.pack(os.getpid())], [its.fileno(), me])
            finally:
                os.close(me)
        return _born(reply)
    except BaseException:
        reply.close()
        raise


def _born(reply: socket.socket) -> Child:
    message, fds = datagram.receive(reply, BORN.size)
    kind, number = BORN.unpack(message)
    if kind == b"E":
        raise OSError(number, f"the fork server cannot start a process: {os.strerror(number)}")
    if kind == b"S":
        raise _StillbornError
    return Child(number, fds[0], reply)


def go(reply: socket.socket, head: bytes, body: bytes, file: int | None, descriptors: list[int]) -> None:
    """Let a child begin: with head and body, or the file that has them, and these descriptors."""
    if file is None:
        first, counts = [head, body], (len(descriptors), len(head), len(body))
    else:
        descriptors = [file, *descriptors]
        first, counts = [], (len(descriptors), len(head), FILED)
    datagram.send(reply, [GO.pack(*counts), *first], descriptors[: datagram.MOST])
    for sent in range(datagram.MOST, len(descriptors), datagram.MOST):
        datagram.send(reply, [b"."], descriptors[sent : sent + datagram.MOST])


def _configuration(preload: list[str]) -> bytes:
    data = preparation.data("forkserver") if preload else {}
    wanted = {"procession", "sys_path", "sys_argv", "orig_dir", "init_main_from_name", "init_main_from_path"}
    known = {key: data[key] for key in wanted & data.keys()}
    used = [name for name in OFTEN if name in sys.modules]
    return pickle.dumps((preload, bytes(process.current_process().authkey), known, used))


zygote = Zygote()
"""This process's."""


def set_preload(modules_names: list[str]) -> None:
    """Modules that the next zygote imports before it serves."""
    if not all(type(name) is str for name in modules_names):
        raise TypeError("module_names must be a list of strings")
    zygote.preload = modules_names
