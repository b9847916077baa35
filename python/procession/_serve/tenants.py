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
    """The client processes of a server that refer to its objects. A thread watches them, from the first one on."""

    def __init__(self, let_go: Callable[[str], None]) -> None:
        self._let_go = let_go
        self._mutex = threading.Lock()
        self._tenants: dict[int, Tenant] = {}  # by pid
        self._watch: threading.Thread | None = None
        self._news = -1  # an eventfd: rung when there is somebody else to watch, or nobody any more
        self._is_closed = False

    def close(self) -> None:
        """Watch nobody any more."""
        with self._mutex:
            is_first, self._is_closed = not self._is_closed, True
            if self._watch is None or not is_first:
                return
            os.eventfd_write(self._news, 1)
        self._watch.join()

    def note(self, fd: int, ident: str) -> None:
        """The process at the other end of a connection refers to an object once more."""
        pid = _known(fd)
        if pid is None:
            return
        left: list[str] = []
        with self._mutex:
            if self._is_closed:
                return
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
            if self._watch is None:
                self._begin()
            self._tenants[pid] = Tenant(os.pidfd_open(pid))
            os.eventfd_write(self._news, 1)
        return self._tenants[pid]

    def _begin(self) -> None:
        self._news = os.eventfd(0, os.EFD_CLOEXEC)
        watch = threading.Thread(target=self._look_after_them, daemon=True)
        try:
            watch.start()
        except RuntimeError:
            os.close(self._news)
            raise
        self._watch = watch

    def _look_after_them(self) -> None:
        while True:
            ends = select.poll()
            with self._mutex:
                ends.register(self._news, select.POLLIN)
                for tenant in self._tenants.values():
                    ends.register(tenant.pidfd, select.POLLIN)
            if self._news in dict(ends.poll()):
                os.eventfd_read(self._news)
            with self._mutex:
                gone = [pid for pid, tenant in self._tenants.items() if self._is_closed or tenant.has_ended()]
                left = [ident for pid in gone for ident in self._bury(pid)]
                if self._is_closed:
                    os.close(self._news)
                    return
            for ident in left:
                self._let_go(ident)

    def _bury(self, pid: int) -> list[str]:
        """Take the dead one out; what it referred to, once for each time."""
        tenant = self._tenants.pop(pid)
        os.close(tenant.pidfd)
        return list(tenant.refers_to.elements())


def _known(fd: int) -> int | None:
    """The process at the other end, if it is known and not this one."""
    pid, _user = peer_of(fd)
    return None if pid in (0, os.getpid()) else pid
