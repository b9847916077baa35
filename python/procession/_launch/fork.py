"""A child by fork.

    parent                                   child
    pidfd of itself
    fork -------------------------------->   parent_sentinel = that pidfd
    close it, pidfd_open(child)              _bootstrap(): the standard library's
    the pidfd is the sentinel                farewell, leave the arena, _exit
    poll(pidfd), waitid(P_PIDFD)   <------

A child pays a copied page for nearly everything it touches, so what need not be done
there is not.
"""

import os
from itertools import starmap
from multiprocessing import process
from typing import ClassVar

import procession._launch.guard  # noqa: F401  or each child that is a daemon would import it for itself
from procession import _native
from procession._launch import life, popen, threads


class Popen(popen.Popen):
    """A forked child."""

    method: ClassVar[str] = "fork"

    def duplicate_for_child(self, fd: int) -> int:
        """The same number: a forked child has them all."""
        return fd

    def _launch(self, process_obj: process.BaseProcess) -> None:
        threads.warn()
        _native.ensure_arena()
        parent_sentinel = os.pidfd_open(os.getpid())
        try:
            self._made.extend(starmap(os.fork, ((),)))  # no handler of a signal runs in between
            if self._made[0] == 0:
                life.live(process_obj, parent_sentinel)
        finally:
            if self._made == [0]:  # interrupted before its life began: it must not go on as its parent
                os._exit(1)
            os.close(parent_sentinel)  # first: the child's pidfd takes its place, whatever the limit
        self._watch_own_child()
