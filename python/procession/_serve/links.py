"""What this process has of one server: a line for each of its threads, and the objects that it refers to.

    proxy, proxy, ... ---- Link(address) ---- a line of this thread's ---- a thread of the server's

A line whose request was interrupted, or not answered, is given up: the next call has a new one, so an answer never
goes to another call than its own.
"""

import threading
from collections.abc import Callable, Iterator
from multiprocessing import process, util
from typing import Any, Final, NoReturn

from procession._base.errors import ManagerDiedError
from procession._serve.messages import Line, dispatch

GONE: Final = (EOFError, ConnectionError, FileNotFoundError)
"""What the end of a server looks like from here."""


def report_death(address: Any, error: BaseException) -> NoReturn:
    """The server does not answer any more."""
    raise ManagerDiedError(f"the manager's server at {address!r} has ended, or was shut down") from error


class ProcessLocalSet(set[Any]):
    """A set that a forked child has empty."""

    __module__ = "procession.managers"

    def __init__(self) -> None:
        util.register_after_fork(self, lambda obj: obj.clear())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()


class Link:
    """The lines to one server."""

    _mutex = util.ForkAwareThreadLock()
    _all: dict[Any, "Link"] = {}  # noqa: RUF012  by address

    def __init__(self) -> None:
        self.tls = util.ForkAwareLocal()
        self.held = ProcessLocalSet()

    @classmethod
    def to(cls, address: Any) -> "Link":
        """The one link to a server."""
        with cls._mutex:
            return cls._all.setdefault(address, Link())

    @classmethod
    def forget(cls, address: Any) -> None:
        """The server has been shut down."""
        cls._all.pop(address, None)

    def line(self, connect: Callable[[], Line]) -> Line:
        """This thread's."""
        try:
            line: Line = self.tls.connection
        except AttributeError:
            line = connect()
            dispatch(line, None, "accept_connection", (_thread_name(),))
            self.tls.connection = line
        return line

    def drop(self) -> None:
        """Give this thread's line up."""
        line = getattr(self.tls, "connection", None)
        if line is not None:
            del self.tls.connection
            line.close()

    def __iter__(self) -> Iterator[Any]:
        yield from (self.tls, self.held)


def _thread_name() -> str:
    name = process.current_process().name
    thread = threading.current_thread().name
    return name if thread == "MainThread" else f"{name}|{thread}"
