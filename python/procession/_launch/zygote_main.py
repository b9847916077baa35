"""The zygote: what it preloads, and the loop that forks.

It has one thread, no place in any arena, and none of its clients' descriptors but one
socket for each child, on which it says who the child is and how it ended.
"""

import gc
import os
import pickle
import select
import signal
import socket
import sys
from multiprocessing import process, util
from typing import Any, Final, NoReturn

from procession import _native  # noqa: F401  for the children
from procession._launch import arrival, life
from procession._launch.zygote import BORN, ENDED, GO

ALWAYS: Final = ("procession.context", "multiprocessing.spawn", "multiprocessing.resource_tracker")
"""What every child needs: each module that it must import itself costs it more than the fork."""


def main(line: int, configuration: int) -> None:
    """Preload, then fork on request until nobody has the other end of `line`."""
    with os.fdopen(configuration, "rb") as file:
        modules, data = pickle.load(file)
    for name in ALWAYS:
        __import__(name)
    preload(modules, data)
    util._close_stdin()  # type: ignore[attr-defined]
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    Server(socket.socket(fileno=line), interrupt).serve()


def preload(modules: list[str], data: dict[str, Any]) -> None:
    """Import what the children will need."""
    if "sys_path" in data:
        sys.path = data["sys_path"]
    me: Any = process.current_process()
    me._inheriting = True
    try:
        if "__main__" in modules:
            arrival.import_main(data)
    finally:
        del me._inheriting
    for name in modules:
        try:
            __import__(name)
        except ImportError:
            continue


class Server:
    """The loop."""

    def __init__(self, line: socket.socket, interrupt: Any) -> None:
        self._line, self._interrupt = line, interrupt
        self._ready = select.epoll()
        self._ready.register(line, select.EPOLLIN)
        self._children: dict[int, socket.socket] = {}  # by pidfd

    def serve(self) -> None:
        """Until the line ends."""
        mine = self._line.fileno()
        while True:
            for fd, _ in self._ready.poll():
                if fd != mine:
                    self._collect(fd)
                elif not self._answer():
                    return

    def _answer(self) -> bool:
        """One request; False when there will be no more."""
        message, fds, _, _ = socket.recv_fds(self._line, 1, 1, socket.MSG_CMSG_CLOEXEC)
        if not message:
            return False
        if fds:
            self._fork(socket.socket(fileno=fds[0]))
        return True

    def _fork(self, reply: socket.socket) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            _tell(reply, BORN.pack(b"E", error.errno or 0))
            reply.close()
            return
        if pid == 0:
            self._live(reply)
        pidfd = os.pidfd_open(pid)
        self._children[pidfd] = reply
        self._ready.register(pidfd, select.EPOLLIN)
        _tell(reply, BORN.pack(b"P", pid), pidfd)

    def _collect(self, pidfd: int) -> None:
        ended = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        self._ready.unregister(pidfd)
        os.close(pidfd)
        if ended is None:
            return
        status = ended.si_status << 8 if ended.si_code == os.CLD_EXITED else ended.si_status
        with self._children.pop(pidfd) as reply:
            _tell(reply, ENDED.pack(b"S", status))

    def _live(self, reply: socket.socket) -> NoReturn:
        """The child: nothing of the zygote's stays, and nothing happens before its go."""
        code = 1
        try:
            self._ready.close()
            self._line.close()
            for pidfd, sibling in self._children.items():
                os.close(pidfd)
                sibling.close()
            signal.signal(signal.SIGINT, self._interrupt)
            descriptors = _wait_for_go(reply)
            if not descriptors:
                os._exit(0)
            data, *arrival.received[:] = descriptors
            with os.fdopen(data, "rb") as file:
                process_obj = arrival.begin(file)
            life.live(
                process_obj, arrival.here.parent_sentinel, lambda code: _tell(reply, ENDED.pack(b"C", code))
            )
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:  # noqa: BLE001  nothing leads a child back into the zygote's loop
            sys.excepthook(*sys.exc_info())
        finally:
            util._flush_std_streams()  # type: ignore[attr-defined]
            os._exit(code)


def _wait_for_go(reply: socket.socket) -> list[int]:
    """The descriptors that the client sends; none when it has changed its mind, or is gone."""
    try:
        message = reply.recv(GO.size)
    except ConnectionError:
        return []
    if not message:
        return []
    (count,) = GO.unpack(message)
    descriptors: list[int] = []
    while len(descriptors) < count:
        message, fds, _, _ = socket.recv_fds(reply, 1, count, socket.MSG_CMSG_CLOEXEC)
        if not message:
            return []
        descriptors += fds
    return descriptors


def _tell(reply: socket.socket, message: bytes, *fds: int) -> None:
    try:
        socket.send_fds(reply, [message], fds)
    except ConnectionError:
        return  # the client is gone
