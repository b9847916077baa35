"""Process objects: the standard library's, with what ours can do besides.

The class that everything derives from, the set of children, the current process and
the code that runs in a child before the user's are the standard library's own, so
that either library's users see the other's processes.
"""

import signal
from multiprocessing import process
from typing import Any

from procession._launch import guard, popen
from procession._launch import tree as process_tree


class BaseProcess(process.BaseProcess):
    """What the processes of all start methods share."""

    _popen: Any
    _start_method: str | None
    _dies_with_parent: bool | None = None

    @property
    def dies_with_parent(self) -> bool:
        """Whether the process is killed, with all that it started, when its parent ends in whatever way.

        So it is for daemons; others can be made so before they start, and then live no
        longer than their parent, SIGKILL included.
        """
        return self.daemon if self._dies_with_parent is None else self._dies_with_parent

    @dies_with_parent.setter
    def dies_with_parent(self, dies: bool) -> None:
        assert self._popen is None, "process has already started"  # noqa: S101  as `daemon` does
        self._dies_with_parent = dies

    def _bootstrap(self, parent_sentinel: int | None = None) -> int:
        if self.dies_with_parent:
            guard.die_with_parent(self._parent_pid, parent_sentinel)  # type: ignore[attr-defined]
        return super()._bootstrap(parent_sentinel=parent_sentinel)  # type: ignore[misc, no-any-return]

    def terminate(self, *, tree: bool = False) -> None:
        """Send the process SIGTERM; with `tree`, also everything that descends from it.

        Parents are told before their children. See `kill` for who is reached.
        """
        if tree:
            self._send_to_tree(signal.SIGTERM)
        else:
            super().terminate()

    def kill(self, *, tree: bool = False) -> None:
        """Send the process SIGKILL; with `tree`, also everything that descends from it.

        Returns when all have been signalled, without waiting for their ends. A descendant
        is whoever has the process, or another descendant, for a parent: not a process
        whose parent had ended before, unless the tree has a control group of its own.
        The standard library's resource trackers are left to clean up and end. With `tree`,
        OSError when /proc cannot be read.
        """
        if tree:
            self._send_to_tree(signal.SIGKILL)
        else:
            super().kill()

    def _send_to_tree(self, sig: int) -> None:
        self._check_closed()  # type: ignore[attr-defined]
        if self._popen.poll() is None:
            process_tree.send(self._popen.pid, self._popen.sentinel, sig)

    def start(self) -> None:
        """Start the process. Interrupted by a signal's handler, it leaves none."""
        super().start()
        if isinstance(self._popen, popen.Popen):
            self._popen.adopt()

    def interrupt(self) -> None:
        """Send the process SIGINT, as Ctrl-C would."""
        self._check_closed()  # type: ignore[attr-defined]
        self._popen._send_signal(signal.SIGINT)

    def is_alive(self) -> bool:
        """Whether the process lives.

        False also when it ended and somebody else collected its exit status (the
        standard library says True for ever); `exitcode` is None then.
        """
        alive = super().is_alive()
        if alive and self._is_lost():
            process._children.discard(self)  # type: ignore[attr-defined]
            return False
        return alive

    def close(self) -> None:
        """Give up the descriptor and all else that the process object holds; the process must have ended."""
        if self._is_lost():
            process._children.discard(self)  # type: ignore[attr-defined]
            self._popen.close()
            self._popen = None
        super().close()

    def _is_lost(self) -> bool:
        return getattr(self._popen, "is_lost", False)  # only a fork's handle can tell
