"""A child by fork, held by a pidfd.

    parent                                   child
    pidfd of itself
    fork -------------------------------->   parent_sentinel = that pidfd
    close it, pidfd_open(child)              _bootstrap(): the standard library's
    the pidfd is the sentinel                farewell, leave the arena, _exit
    poll(pidfd), waitid(P_PIDFD)   <------

A pidfd names one process for ever, so a signal can never hit another that got the
number, and it is readable when the process has ended, whoever else holds copies of
pipes. A child pays a copied page for nearly everything it touches, so what need not be
done there is not.
"""

import atexit
import os
import select
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing import popen_fork, process, util
from typing import Final, NoReturn

from procession import _native
from procession._base.deadline import Deadline
from procession._base.descriptor import Descriptor
from procession._launch import stdin
from procession._wire import farewell

# Since 3.12.2 a child runs the exit functions that it registered itself.
CHILD_RUNS_ATEXIT: Final = hasattr(popen_fork, "atexit")


_has_stdin: list[bool] = []
"""In a child: whether its parent had a standard input, until `set_up` asks."""


def set_up() -> None:
    """What the standard library does in a child before its user's code, less what nobody needs."""
    if _has_stdin and _has_stdin.pop():
        sys.stdin = stdin.empty()
    if util._finalizer_registry:  # type: ignore[attr-defined]
        util._finalizer_registry.clear()  # type: ignore[attr-defined]
    if not farewell.is_alone():
        util._run_after_forkers()  # type: ignore[attr-defined]


def _live(process_obj: process.BaseProcess, parent_sentinel: int) -> NoReturn:
    """The whole life of the child, in one function: a child pays a copied page for each it enters."""
    code = 1
    farewell.leave_it_to_launcher()
    _has_stdin.append(sys.stdin is not None)
    sys.stdin = None  # _bootstrap leaves that alone, and `set_up` replaces it
    try:
        if CHILD_RUNS_ATEXIT:
            atexit._clear()
            atexit.register(util._exit_function)  # type: ignore[attr-defined]
        code = process_obj._bootstrap(parent_sentinel=parent_sentinel)  # type: ignore[attr-defined]
    finally:
        try:
            if CHILD_RUNS_ATEXIT:
                atexit._run_exitfuncs()
            if held := _native.detach_held():
                farewell.tell(held)
            _native.leave()
        finally:
            os._exit(code)


def _sentinel_of(pid: int) -> int | None:
    """A pidfd; None when the child is gone already and somebody else collected it."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


class Popen:
    """A forked child: started by the constructor, asked and signalled through its pidfd."""

    method = "fork"
    pid: int
    sentinel: int

    def __init__(self, process_obj: process.BaseProcess) -> None:
        util._flush_std_streams()  # type: ignore[attr-defined]
        self.returncode: int | None = None
        self.is_lost = False
        self._reaping = threading.RLock()  # recursive: a signal handler may ask while we do
        self._launch(process_obj)

    def duplicate_for_child(self, fd: int) -> int:
        """The child's number of a descriptor of ours: the same."""
        return fd

    def _launch(self, process_obj: process.BaseProcess) -> None:
        _native.ensure_arena()
        parent_sentinel = os.pidfd_open(os.getpid())
        try:
            self.pid = os.fork()
        except BaseException:
            os.close(parent_sentinel)
            raise
        if self.pid == 0:
            _live(process_obj, parent_sentinel)
        os.close(parent_sentinel)  # first: the child's pidfd takes its place, whatever the limit
        try:
            self._watch()
        except OSError:  # another thread took the descriptor: a child that nobody can watch must not go on
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise

    def _watch(self) -> None:
        pidfd = _sentinel_of(self.pid)
        self.is_lost = pidfd is None
        self.sentinel = os.eventfd(1) if pidfd is None else pidfd  # the eventfd is readable for ever
        self._descriptor = Descriptor(self.sentinel)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """The exit code; None while the child lives, or when somebody else collected it (`is_lost` then)."""
        if flag != os.WNOHANG:
            return self.wait()
        if self.returncode is None and not self.is_lost:
            self._reap()
        return self.returncode

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
            try:
                ended = os.waitid(os.P_PIDFD, self.sentinel, os.WEXITED | os.WNOHANG)
            except ChildProcessError:
                # Collected by somebody else (or SIGCHLD is ignored): the status is gone.
                self.is_lost = self._has_ended(Deadline.after(0))
                return
            if ended is None:
                return
            exited = ended.si_code == os.CLD_EXITED
            self.returncode = ended.si_status if exited else -ended.si_status
        if _native.has_arena():
            _native.reaped()

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
        self._send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self._send_signal(signal.SIGKILL)

    def interrupt(self) -> None:
        self._send_signal(signal.SIGINT)

    def close(self) -> None:
        self._descriptor.close()
