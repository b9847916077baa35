"""Whom a zygote forks for: their children hear from it that they have ended.

A child's parent for the kernel is the zygote, so it hears of the end of its real parent
from nobody else (`guard.py`). And where a guard has ended a client with all that it had
started, what it had started here goes too.
"""

import os
import select
import signal
from contextlib import suppress
from dataclasses import dataclass, field

from procession._launch import guard, tree


@dataclass(slots=True)
class Client:
    """A process that has living children here."""

    pid: int
    pidfd: int
    guard: int | None
    """If it is to end with another process: that one's pidfd, or a pipe that it holds open."""
    children: dict[int, int] = field(default_factory=dict)
    """Their pids, with the zygote's pidfds of them."""

    def close(self) -> None:
        """Nothing of it is needed any more."""
        os.close(self.pidfd)
        if self.guard is not None:
            os.close(self.guard)


class Clients:
    """All that have children here, watched through `ready`."""

    def __init__(self, ready: select.epoll) -> None:
        self._ready = ready
        self._by_pid: dict[int, Client] = {}
        self._by_pidfd: dict[int, Client] = {}
        self._of_child: dict[int, Client] = {}

    def children_of(self, pid: int) -> list[int]:
        """Pids of the children that were forked here for process `pid`."""
        client = self._by_pid.get(pid)
        return [] if client is None else list(client.children)

    def add(self, client: Client, child: int, pidfd: int) -> None:
        """`child` is for that process."""
        known = self._by_pid.get(client.pid)
        if known is None:
            known = self._by_pid[client.pid] = self._by_pidfd[client.pidfd] = client
            self._ready.register(client.pidfd, select.EPOLLIN)
        else:
            client.close()
        known.children[child] = pidfd
        self._of_child[child] = known

    def remove(self, child: int) -> None:
        """The child has ended."""
        client = self._of_child.pop(child, None)
        if client is not None:
            client.children.pop(child, None)
            if not client.children:
                self._forget(client)

    def _forget(self, client: Client) -> None:
        if self._by_pidfd.pop(client.pidfd, None) is None:  # it has ended before its children
            return
        del self._by_pid[client.pid]
        self._ready.unregister(client.pidfd)
        client.close()

    def end(self, pidfd: int) -> bool:
        """Whether that is a client's: then it has ended, and its children are told, or end with it."""
        client = self._by_pidfd.get(pidfd)
        if client is None:
            return False
        is_ended_by_guard = client.guard is not None and tree.has_ended(client.guard)
        self._forget(client)
        for child, sentinel in list(client.children.items()):
            if is_ended_by_guard:
                with suppress(OSError):
                    tree.send(child, sentinel, signal.SIGKILL)
            else:
                guard.tell_orphan(child, client.pid)
        return True

    def close_in_child(self) -> None:
        """A child of the zygote's needs none of this."""
        for client in self._by_pidfd.values():
            client.close()
