"""A child by fork, held by a pidfd.

    parent                                   child
    pidfd of itself, /dev/null as stdin
    fork -------------------------------->   parent_sentinel = that pidfd
    close both, pidfd_open(child)            stdin = that /dev/null
    the pidfd is the sentinel                _bootstrap(): the standard library's
    poll(pidfd), waitid(P_PIDFD)   <------   exit functions, leave the arena, _exit

A pidfd names one process for ever, so a signal can never hit another that got the
number, and it is readable when the process has ended, whoever else holds copies of
pipes. What the parent prepares before the fork it prepares on pages that are its own;
the child would pay a copied page for each touch (opening /dev/null there is a sixth
of a child's life).
"""

import atexit
import os
import select
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing import popen_fork, process, util
from typing import Any, Final, NoReturn, TextIO

from procession import _native
from procession._base.deadline import Deadline
from procession._base.descriptor import Descriptor
from procession._wire import farewell

# Since 3.12.2 a child runs the exit functions that it registered itself.
CHILD_RUNS_ATEXIT: Final = hasattr(popen_fork, "atexit")


class _Provisions:
    """What a parent opens for its next child: a pidfd of itself, and an empty standard input."""

    __slots__ = ("_null", "sentinel", "stdin")

    def __init__(self) -> None:
        self.sentinel = os.pidfd_open(os.getpid())
        self.stdin: TextIO | None = None
        self._null = -1
        if sys.stdin is not None:
            self._open_stdin()

    def _open_stdin(self) -> None:
        try:
            self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            self.stdin = open(self._null, encoding="utf-8", closefd=False)  # noqa: SIM115  closed below or by the child
        except OSError:  # no descriptor left: the child then makes do as the standard library's does
            self._close_null()

    def _close_null(self) -> None:
        if self._null >= 0:
            os.close(self._null)
            self._null = -1

    def drop(self) -> None:
        """Close everything, in the parent."""
        os.close(self.sentinel)
        self._close_null()


_waiting: list[TextIO] = []
"""In a child, the standard input that its parent opened, until `_bootstrap` has dealt with the old one."""


def take_stdin() -> None:
    """Give the child the standard input that its parent opened for it."""
    if _waiting:
        sys.stdin = _waiting.pop()


def _live(process_obj: process.BaseProcess, provisions: _Provisions) -> NoReturn:
    """The whole life of the child, in one function: a child pays a copied page for each it enters."""
    code = 1
    farewell.leave_it_to_launcher()
    try:
        if CHILD_RUNS_ATEXIT:
            atexit._clear()
            atexit.register(util._exit_function)  # type: ignore[attr-defined]
        if provisions.stdin is not None:
            _close_inherited(sys.stdin)
            sys.stdin = None  # _bootstrap then leaves it alone
            _waiting.append(provisions.stdin)
        code = process_obj._bootstrap(parent_sentinel=provisions.sentinel)  # type: ignore[attr-defined]
    finally:
        try:
            if CHILD_RUNS_ATEXIT:
                atexit._run_exitfuncs()
            if held := _native.detach_held():
                farewell.tell(held)
            _native.leave()
        finally:
            os._exit(code)


def _close_inherited(stdin: Any) -> None:
    """Close it at its lowest level, which closes it as a whole and touches least."""
    try:
        stdin.buffer.raw.close()
    except AttributeError:  # not a text file over a buffer over a raw file
        with suppress(OSError, ValueError):
            stdin.close()
    except (OSError, ValueError):
        pass


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
        provisions = _Provisions()
        try:
            self.pid = os.fork()
        except BaseException:
            provisions.drop()
            raise
        if self.pid == 0:
            _live(process_obj, provisions)
        provisions.drop()  # first: it frees the descriptor that the pidfd takes
        self._watch()

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
