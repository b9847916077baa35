"""The server behind the start method `forkserver`: procession's zygote under the standard library's names."""

from multiprocessing import forkserver as standard
from typing import Any

from procession._launch import arrival
from procession._launch.zygote import set_preload as set_forkserver_preload
from procession._launch.zygote import zygote

__all__ = ["connect_to_new_process", "ensure_running", "get_inherited_fds", "set_forkserver_preload"]


def ensure_running() -> None:
    """Start the server unless it runs."""
    zygote.ensure_running()


def get_inherited_fds() -> list[int] | None:
    """The descriptors that were sent to this process; None when it was not started by a server."""
    inherited: list[int] | None = standard._forkserver.get_inherited_fds()
    return arrival.received or inherited


def connect_to_new_process(fds: list[int]) -> tuple[int, int]:
    """Ask the standard library's own fork server for a process, which is to read pickles from the second descriptor.

    Procession's server is asked by `Process.start()` only.
    """
    connected: tuple[int, int] = standard._forkserver.connect_to_new_process(fds)
    return connected


class _ForkServer:
    """What programs and tests ask of the standard library's private `_forkserver`."""

    ensure_running = staticmethod(ensure_running)
    get_inherited_fds = staticmethod(get_inherited_fds)
    connect_to_new_process = staticmethod(connect_to_new_process)
    set_forkserver_preload = staticmethod(set_forkserver_preload)

    @property
    def _forkserver_pid(self) -> int | None:
        return zygote.pid

    @property
    def _preload_modules(self) -> list[str]:
        return zygote.preload

    def _stop(self) -> None:
        zygote.stop()
        standard._forkserver._stop()  # type: ignore[attr-defined]


_forkserver = _ForkServer()


def __getattr__(name: str) -> Any:
    return getattr(standard, name)
