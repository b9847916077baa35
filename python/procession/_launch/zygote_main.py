"""The zygote: what it preloads, and the loop that forks.

It has one thread, no place in any arena, and none of its clients' descriptors but one
socket for each child, on which it says how the child ended.

One child is always there already: the spare, which waits for the client that it is for.
So a start costs its client no fork, where there is more than one processor.
"""

import gc
import os
import pickle
import select
import signal
import socket
import sys
from contextlib import closing, suppress
from multiprocessing import util
from typing import Any, Final, NamedTuple, NoReturn

from procession import _native
from procession._launch import arrival, datagram, guard, life
from procession._launch.clients import Client, Clients
from procession._launch.preload import begin_anew, preload
from procession._launch.zygote import ASK, BORN, ENDED, FILED, GO, INLINE

ALWAYS: Final = ("procession.context", "multiprocessing.spawn", "multiprocessing.resource_tracker")
"""What every child needs: each module that it must import itself costs it more than the fork."""


def main(line: int, configuration: int) -> None:
    """Preload, then fork on request until nobody has the other end of `line`."""
    with os.fdopen(configuration, "rb", closefd=False) as file:
        wanted = pickle.load(file)
    for name in ALWAYS:
        __import__(name)
    if not preload(*wanted):
        begin_anew(line, configuration, *wanted)
    os.close(configuration)
    util._close_stdin()  # type: ignore[attr-defined]
    util._flush_std_streams()  # type: ignore[attr-defined]
    guard.be_zygote()
    with suppress(OSError):  # each child then copies page by page
        _native.share_foresight()
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.set_inheritable(line, False)
    gc.collect()
    gc.freeze()
    with closing(Server(datagram.adopt(line), interrupt)) as server:
        server.serve()


class Spare(NamedTuple):
    """A child that waits for its client."""

    pid: int
    pidfd: int
    end: socket.socket


class Server:
    """The loop."""

    def __init__(self, line: socket.socket, interrupt: Any) -> None:
        self._line, self._interrupt = line, interrupt
        self._ready = select.epoll()
        self._ready.register(line, select.EPOLLIN)
        self._children: dict[int, socket.socket] = {}  # by pidfd: where to say how it ended
        self._clients = Clients(self._ready)
        self._spare: Spare | None = None
        self._asked: list[int] = []  # descriptors of the request that is being answered

    def serve(self) -> None:
        """Until the line ends."""
        mine = self._line.fileno()
        while True:
            events = self._ready.poll(0) or self._prepare_and_poll()
            asked = False
            for fd, _ in events:
                if fd == mine:
                    asked = True  # last: a client that has ended is not mistaken for one with its pid
                elif not self._clients.end(fd):
                    self._collect(fd)
            if asked and not self._answer():
                return

    def close(self) -> None:
        """Let the spare child go."""
        self._line.close()
        if self._spare is not None:
            self._spare.end.close()

    def _prepare_and_poll(self) -> list[tuple[int, int]]:
        if self._spare is None:
            try:
                self._spare = self._fork()
            except OSError:  # no more processes for now: who asks will hear of it
                return self._ready.poll()
            return self._ready.poll(0)
        return self._ready.poll()

    def _answer(self) -> bool:
        """One request; False when there will be no more."""
        try:
            message, fds = datagram.receive(self._line, ASK.size)
        except datagram.GoneError:
            return False
        (client,) = ASK.unpack(message)
        self._serve(client, fds)
        return True

    def _serve(self, pid: int, fds: list[int]) -> None:
        if len(fds) < 2:  # no descriptor was left for them, and the client hears that they were closed
            for fd in fds:
                os.close(fd)
            return
        self._asked = fds
        reply, client = datagram.adopt(fds[0]), Client(pid, fds[1])
        try:
            child = self._assign(reply, client)
            self._clients.add(client, child.pid)
        except OSError as error:
            client.close()
            with reply:
                _tell(reply, BORN.pack(b"E", error.errno or 0))
        finally:
            self._asked = []

    def _assign(self, reply: socket.socket, client: Client) -> Spare:
        while True:
            spare, self._spare = self._spare or self._fork(), None
            try:
                with spare.end:
                    datagram.send(spare.end, [b"."], [reply.fileno(), client.pidfd])
            except datagram.GoneError:  # somebody has killed it
                continue
            self._children[spare.pidfd] = reply
            return spare

    def _fork(self) -> Spare:
        end, its = datagram.pair()
        with its:
            pid = os.fork()
            if pid == 0:
                end.close()
                self._live(its)
            pidfd = os.pidfd_open(pid)
            self._ready.register(pidfd, select.EPOLLIN)
            return Spare(pid, pidfd, end)

    def _collect(self, pidfd: int) -> None:
        if pidfd not in self._children and (self._spare is None or self._spare.pidfd != pidfd):
            return  # a client's: it ended with its last child, which was met first
        ended = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
        if ended is None:
            return
        _, status, usage = os.wait4(ended.si_pid, 0)  # it has ended, so the pid is its own till here
        if self._spare is not None and self._spare.pidfd == pidfd:
            self._spare.end.close()
            self._spare = None
        self._ready.unregister(pidfd)
        os.close(pidfd)
        self._clients.remove(ended.si_pid)
        reply = self._children.pop(pidfd, None)
        if reply is not None:
            with reply:
                _tell(reply, ENDED.pack(b"S", status, usage.ru_maxrss))

    def _live(self, end: socket.socket) -> NoReturn:
        """The child: nothing of the zygote's stays, and nothing happens before its go."""
        code = 1
        try:
            self._ready.close()
            self._line.close()
            for fd in self._asked:
                os.close(fd)
            for pidfd, sibling in self._children.items():
                os.close(pidfd)
                sibling.close()
            self._clients.close_in_child()
            reply, head, body = _wait_for_go(end)
            os.register_at_fork(after_in_child=reply.close)  # whom it forks has nothing to say of its end
            signal.signal(signal.SIGINT, self._interrupt)
            process_obj = arrival.begin(head, body)
            life.live(
                process_obj,
                arrival.here.parent_sentinel,
                lambda code: _tell(reply, ENDED.pack(b"C", code, 0)),
            )
        except datagram.GoneError:  # nobody wants it
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:  # noqa: BLE001  nothing leads a child back into the zygote's loop
            sys.excepthook(*sys.exc_info())
        finally:
            util._flush_std_streams()  # type: ignore[attr-defined]
            os._exit(code)


def _wait_for_go(end: socket.socket) -> tuple[socket.socket, bytes | memoryview, bytes | memoryview]:
    """The client's socket, and what it sends. GoneError when it has changed its mind, or is gone."""
    me = os.pidfd_open(os.getpid())
    with end:
        _, (fd, client) = datagram.receive(end, 1)
    reply = datagram.adopt(fd)
    datagram.send(reply, [BORN.pack(b"P", os.getpid())], [me])
    os.close(me)
    if not _speaks(reply, client):
        raise datagram.GoneError
    os.close(client)
    message, fds = datagram.receive(reply, GO.size + INLINE)
    count, head, body = GO.unpack_from(message)
    while len(fds) < count:
        fds += datagram.receive(reply, 1)[1]
    data = memoryview(message)[GO.size :]
    if body == FILED:
        data = memoryview(arrival.read(fds.pop(0)))
    arrival.received[:] = fds
    return reply, data[:head], data[head:]


def _speaks(reply: socket.socket, client: int) -> bool:
    """Whether there is a message, or will be none; False when the client has ended and left none.

    What the client has forked may have the other end for as long as it likes.
    """
    either, alone = select.poll(), select.poll()
    for fd in (reply.fileno(), client):
        either.register(fd, select.POLLIN)
    alone.register(reply, select.POLLIN)
    either.poll()
    return bool(alone.poll(0))  # asked again: the client may have spoken just before it ended


def _tell(reply: socket.socket, message: bytes) -> None:
    with suppress(OSError):  # the client is gone
        reply.send(message)
