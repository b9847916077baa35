"""Process objects: the standard library's, with what ours can do besides.

The class that everything derives from, the set of children, the current process and
the code that runs in a child before the user's are the standard library's own, so
that either library's users see the other's processes.

A new interpreter loads this module to become what it was started as, so it imports
nothing that is needed only to start one: launchers and contexts come when they are used.
"""

from __future__ import annotations

import signal
import sys
from multiprocessing import process

from procession import _native
from procession._launch import arrival, method

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` takes longer to import than all of this
    from typing import Any, SupportsIndex


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
        parent_sentinel = arrival.here.take_sentinel(parent_sentinel)
        if self.dies_with_parent:
            _module("procession._launch.guard").die_with_parent(self._parent_pid, parent_sentinel)  # type: ignore[attr-defined]
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
            _module("procession._launch.tree").send(self._popen.pid, self._popen.sentinel, sig)

    def start(self) -> None:
        """Start the process. Interrupted by a signal's handler that raises, it leaves none."""
        current = process.current_process()
        if getattr(current, "_may_have_children", False):
            self._start_in_worker(current._config)  # type: ignore[attr-defined]
        else:
            super().start()
        if adopt := getattr(self._popen, "adopt", None):  # tools put handles of their own in our place
            adopt()

    def _start_in_worker(self, config: dict[str, Any]) -> None:
        # A pool's worker is a daemon, and yet may have children: they end with it.
        is_daemon = config.pop("daemon", None)
        try:
            super().start()
        finally:
            if is_daemon is not None:
                config["daemon"] = is_daemon

    def interrupt(self) -> None:
        """Send the process SIGINT, as Ctrl-C would."""
        self._check_closed()  # type: ignore[attr-defined]
        self._popen._send_signal(signal.SIGINT)

    def is_alive(self) -> bool:
        """Whether the process lives.

        False also when it ended and somebody else collected its exit status (the
        standard library says True for ever); `exitcode` is None then.
        """
        return super().is_alive() and not self._is_lost()

    def close(self) -> None:
        """Give up the descriptor and all else that the process object holds; the process must have ended."""
        if self._is_lost():
            process._children.discard(self)  # type: ignore[attr-defined]
            self._popen.close()
            self._popen = None
        super().close()

    def _is_lost(self) -> bool:
        return getattr(self._popen, "is_lost", False)

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> str | tuple[Any, ...]:
        if type(self).__module__ != _FACADE:  # a subclass
            return super().__reduce_ex__(protocol)
        return _revive, (type(self).__name__,), self.__getstate__()


_FACADE = "procession.context"
"""Where users find the classes below. A child finds them here, and need not load that."""


def _revive(name: str) -> BaseProcess:
    kind: type[BaseProcess] = globals()[name]
    return kind.__new__(kind)


def _module(name: str) -> Any:
    __import__(name)
    return sys.modules[name]


def _launch(how: str, process_obj: BaseProcess) -> Any:
    return _module(f"procession._launch.{how}").Popen(process_obj)


def _set_up(how: str) -> None:
    method.force(how)
    sys.modules["procession._launch.life"].set_up()  # whoever forked has loaded it


def _default_context() -> Any:
    return _module(_FACADE)._default_context  # above us, and loaded by whoever starts processes


class ForkProcess(BaseProcess):
    """A process that begins as a copy of its parent."""

    __module__ = _FACADE
    _start_method = "fork"

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:
        return _launch("fork", process_obj)

    @staticmethod
    def _after_fork() -> None:
        _set_up("fork")


class SpawnProcess(BaseProcess):
    """A process that begins as a new interpreter."""

    __module__ = _FACADE
    _start_method = "spawn"

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:
        return _launch("spawn", process_obj)

    @staticmethod
    def _after_fork() -> None:
        method.force("spawn")


class ForkServerProcess(BaseProcess):
    """A process that begins as a copy of a small server process."""

    __module__ = _FACADE
    _start_method = "forkserver"

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:
        return _launch("forkserver", process_obj)

    @staticmethod
    def _after_fork() -> None:
        _set_up("forkserver")
        _native.note_foresight()  # its program is next


_KINDS: dict[str, Any] = {"fork": ForkProcess, "spawn": SpawnProcess, "forkserver": ForkServerProcess}


class Process(BaseProcess):
    """A process started by the default context's start method."""

    __module__ = _FACADE
    _start_method = None

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:
        return _default_context().get_context().Process._Popen(process_obj)

    @staticmethod
    def _after_fork() -> None:
        _KINDS[method.forced or _default_context().get_start_method()]._after_fork()

    # A spawned child begins with the interpreter's default; it is to go on with its parent's.
    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_parents_method": _default_context().get_start_method()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        method.force(state.pop("_parents_method"))
        self.__dict__.update(state)
