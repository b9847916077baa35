"""Which client processes refer to which objects of a server, so that those of a dead one are let go.

    incref from 1234 ---> 1234: {7f03: 2, 7fa8: 1}     its pidfd ---> the watch: a decref for each, once it has ended

The protocol does not say who a client is, but a local socket does. Clients on other machines, and in other process
namespaces, are not known: what they leave stays, as in the standard library.
"""

import os
import select
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import util

from procession._serve.strangers import peer_of


@dataclass
class Tenant:
    """One client process."""

    pidfd: int
    refers_to: Counter[str] = field(default_factory=Counter)

    def has_ended(self) -> bool:
        """Whether its process has."""
        ready = select.poll()
        ready.register(self.pidfd, select.POLLIN)
        return bool(ready.poll(0))


class Tenants:
    """The client processes of a server that refer to its objects."""

    def __init__(self, let_go: Callable[[str], None]) -> None:
        self._let_go = let_go
        self._mutex = threading.Lock()
        self._tenants: dict[int, Tenant] = {}  # by pid
        self._ends: select.epoll | None = None

    def note(self, fd: int, ident: str) -> None:
        """The process at the other end of a connection refers to an object once more."""
        pid = _known(fd)
        if pid is None:
            return
        left: list[str] = []
        with self._mutex:
            earlier = self._tenants.get(pid)
            if earlier is not None and earlier.has_ended():
                left = self._bury(pid)
            try:
                self._tenant(pid).refers_to[ident] += 1
            except ProcessLookupError:
                left.append(ident)
            except (OSError, RuntimeError) as error:  # no descriptor, or no thread
                util.info("process %d is not watched: %r", pid, error)
        for each in left:
            self._let_go(each)

    def forget(self, fd: int, ident: str) -> None:
        """It refers to it no more."""
        pid = _known(fd)
        if pid is None:
            return
        with self._mutex:
            tenant = self._tenants.get(pid)
            if tenant is not None and tenant.refers_to[ident] > 0:
                tenant.refers_to[ident] -= 1
                return
            # Whose reference that was nobody knows: of this object none is let go unasked.
            for each in self._tenants.values():
                del each.refers_to[ident]

    def _tenant(self, pid: int) -> Tenant:
        if pid not in self._tenants:
            if self._ends is None:
                ends = select.epoll()
                threading.Thread(target=self._watch, args=(ends,), daemon=True).start()
                self._ends = ends
            pidfd = os.pidfd_open(pid)
            try:
                self._ends.register(pidfd, select.EPOLLIN)
            except OSError:
                os.close(pidfd)
                raise
            self._tenants[pid] = Tenant(pidfd)
        return self._tenants[pid]

    def _bury(self, pid: int) -> list[str]:
        """Take the dead one out; what it referred to, once for each time."""
        tenant = self._tenants.pop(pid)
        os.close(tenant.pidfd)  # which takes it out of the epoll, too
        return list(tenant.refers_to.elements())

    def _watch(self, ends: select.epoll) -> None:
        while True:
            ready = {fd for fd, _ in ends.poll()}
            with self._mutex:
                # A descriptor may be another's by now: a tenant says itself whether it has ended.
                dead = [pid for pid, one in self._tenants.items() if one.pidfd in ready and one.has_ended()]
                left = [ident for pid in dead for ident in self._bury(pid)]
            for ident in left:
                self._let_go(ident)


def _known(fd: int) -> int | None:
    """The process at the other end, if it is known and not this one."""
    pid, _user = peer_of(fd)
    return None if pid in (0, os.getpid()) else pid
