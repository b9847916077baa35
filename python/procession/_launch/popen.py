"""The parent's handle of a child, whatever started it: watched, signalled and waited for through a pidfd.

A pidfd names one process for ever, so a signal can never hit another that got the
number, and it is readable when the process has ended, whoever else holds copies of
pipes. What differs between the ways of starting is how a child is made (`_launch`) and
how its exit status is learned (`_collect`).
"""

import os
import select
import signal
import threading
from contextlib import suppress
from multiprocessing import process, util
from typing import ClassVar

from procession import _native
from procession._base.deadline import Deadline
from procession._base.descriptor import Descriptor


class Popen:
    """A child: started by the constructor, asked and signalled through its pidfd."""

    method: ClassVar[str]
    pid: int
    sentinel: int
    returncode: int | None = None
    is_lost = False
    peak_memory: int | None = None
    """The most bytes of memory that it had, known when whoever started it, this process or its zygote, has collected it."""
    _descriptor: Descriptor | None = None
    _is_known = False

    def __init__(self, process_obj: process.BaseProcess) -> None:
        self._made: list[int] = []
        self._parent = os.getpid()
        self._reaping = threading.RLock()  # recursive: a signal handler may ask while we do
        util._flush_std_streams()  # type: ignore[attr-defined]
        self._launch(process_obj)

    def _launch(self, process_obj: process.BaseProcess) -> None:
        """Start the child: `_made` has its pid as soon as there is one. What fails here leaves nothing."""
        raise NotImplementedError

    def duplicate_for_child(self, fd: int) -> int:
        """The child's number of a descriptor of ours."""
        raise NotImplementedError

    def adopt(self) -> None:
        """The process object knows of its child: the child is its business now."""
        self._is_known = True

    def __del__(self) -> None:
        # A signal's handler has raised while the child was made, before the process object knew of it.
        if self._is_known or not getattr(self, "_made", None) or self.returncode is not None:
            return
        if self._parent != os.getpid():
            return
        if self._descriptor is None:
            self._watch_own_child()
        self.kill()
        self.wait()
        self.close()

    def _watch(self, pidfd: int | None) -> None:
        """Take the child's pidfd for the sentinel; None: it has ended, and somebody else collected it."""
        self.is_lost = pidfd is None
        self.sentinel = os.eventfd(1) if pidfd is None else pidfd  # the eventfd is readable for ever
        self._descriptor = Descriptor(self.sentinel)

    def _watch_own_child(self) -> None:
        """Watch a child that is ours to collect; one that cannot be watched must not go on."""
        self.pid = self._made[0]
        try:
            self._watch(_pidfd_of(self.pid))
        except OSError:  # another thread took the last descriptor
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self._made.pop(), 0)
            raise

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """The exit code; None while the child lives, or when somebody else collected it (`is_lost` then)."""
        if flag != os.WNOHANG:
            return self.wait()
        if self.returncode is None and not self.is_lost:
            self._reap()
        if self.is_lost:
            self._strike_from_children()
        return self.returncode

    def _strike_from_children(self) -> None:
        # The standard library waits for an exit code before it forgets a child, and here none will come.
        for child in list(process._children):  # type: ignore[attr-defined]
            if child._popen is self:
                process._children.discard(child)  # type: ignore[attr-defined]

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit code once the child has ended; None when it has not by the timeout."""
        if self.returncode is None and not self.is_lost:
            if timeout is None:
                self._wait_for_end()
            elif not self._has_ended(Deadline.after(timeout)):
                return None
            self._reap()
        return self.returncode

    def _wait_for_end(self) -> None:
        # It stays to be collected: two threads may wait here, and one of them will collect it.
        with suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, self.sentinel, os.WEXITED | os.WNOWAIT)

    def _has_ended(self, deadline: Deadline) -> bool:
        poll = select.poll()
        poll.register(self.sentinel, select.POLLIN)
        while not poll.poll(deadline.poll_milliseconds()):
            if deadline.has_passed():
                return False
        return True

    def _reap(self) -> None:
        with self._reaping:
            if self.returncode is not None or self.is_lost:
                return
            self.returncode = self._collect()
            if self.returncode is None:
                return
        if _native.has_arena():
            _native.reaped()

    def _collect(self) -> int | None:
        """The exit code of a child that has ended; None while it lives, or with `is_lost` set."""
        try:
            if os.waitid(os.P_PIDFD, self.sentinel, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return None
            _, status, usage = os.wait4(self.pid, os.WNOHANG)  # it has ended, so the pid is its own till here
        except ChildProcessError:
            # Collected by somebody else (or SIGCHLD is ignored): the status is gone.
            self.is_lost = self._has_ended(Deadline.after(0))
            return None
        self.peak_memory = usage.ru_maxrss * 1024
        return os.waitstatus_to_exitcode(status)

    def _send_signal(self, sig: int) -> None:
        if self.returncode is not None or self.is_lost:
            return
        try:
            signal.pidfd_send_signal(self.sentinel, sig)
        except ProcessLookupError:
            pass
        except OSError:
            if self.wait(timeout=0.1) is None:
                raise

    def terminate(self) -> None:
        """Ask the child to end."""
        self._send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the child."""
        self._send_signal(signal.SIGKILL)

    def interrupt(self) -> None:
        """Do what Ctrl-C does."""
        self._send_signal(signal.SIGINT)

    def close(self) -> None:
        """Give up the descriptors."""
        if self._descriptor is not None:
            self._descriptor.close()


def _pidfd_of(pid: int) -> int | None:
    """A pidfd; None when the child is gone already and somebody else collected it."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None
