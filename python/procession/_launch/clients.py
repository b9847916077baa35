"""Whom a zygote forks for: their children hear from it that they have ended.

A child's parent for the kernel is the zygote, so it hears of the end of its real parent
from nobody else (`guard.py`).
"""

import os
import select

from procession._launch import guard


class Client:
    """A process that has living children here."""

    __slots__ = ("children", "pid", "pidfd")

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.children: set[int] = set()

    def close(self) -> None:
        """Nothing of it is needed any more."""
        os.close(self.pidfd)


class Clients:
    """All that have children here, watched through `ready`."""

    def __init__(self, ready: select.epoll) -> None:
        self._ready = ready
        self._by_pid: dict[int, Client] = {}
        self._by_pidfd: dict[int, Client] = {}
        self._of_child: dict[int, Client] = {}

    def add(self, client: Client, child: int) -> None:
        """`child` is for that process."""
        known = self._by_pid.get(client.pid)
        if known is None:
            known = self._by_pid[client.pid] = self._by_pidfd[client.pidfd] = client
            self._ready.register(client.pidfd, select.EPOLLIN)
        else:
            client.close()
        known.children.add(child)
        self._of_child[child] = known

    def remove(self, child: int) -> None:
        """The child has ended."""
        client = self._of_child.pop(child, None)
        if client is not None:
            client.children.discard(child)
            if not client.children:
                self._forget(client)

    def _forget(self, client: Client) -> None:
        if self._by_pidfd.pop(client.pidfd, None) is None:  # it has ended before its children
            return
        del self._by_pid[client.pid]
        self._ready.unregister(client.pidfd)
        client.close()

    def end(self, pidfd: int) -> bool:
        """Whether that is a client's: then it has ended, and its children are told."""
        client = self._by_pidfd.get(pidfd)
        if client is None:
            return False
        self._forget(client)
        for child in client.children:
            guard.tell_orphan(child, client.pid)
        return True

    def close_in_child(self) -> None:
        """A child of the zygote's needs none of this."""
        for client in self._by_pidfd.values():
            client.close()
