"""`wait()`: until something of many can be read, or has ended.

As the standard library's, over poll(2), with two things more: a process stands for its
sentinel, and a connection whose message was torn is ready although its descriptor says
nothing, so nobody waits for what cannot come.
"""

from collections.abc import Iterable
from multiprocessing.process import BaseProcess
from selectors import EVENT_READ, PollSelector
from typing import Any, Final

from procession import _native
from procession._base.deadline import Deadline

SLICE: Final = 0.1  # seconds between two looks at connections that may be torn


def wait(object_list: Iterable[Any], timeout: float | None = None) -> list[Any]:
    """Those of the objects that are ready, as soon as one is; none when `timeout` seconds have passed.

    An object is a connection, a socket, a queue, a process, anything with `fileno()`,
    or a descriptor such as a process's sentinel. A connection is ready when `recv()` would
    not block, a process when it has ended.
    """
    with PollSelector() as selector:
        for obj in object_list:
            selector.register(obj.sentinel if isinstance(obj, BaseProcess) else obj, EVENT_READ, obj)
        connections = [
            key.data for key in selector.get_map().values() if isinstance(key.data, _native.Connection)
        ]
        deadline = Deadline.after(timeout)
        while True:
            left = deadline.seconds()
            ready = [key.data for key, _ in selector.select(_slice(left) if connections else left)]
            if not ready:
                ready = [connection for connection in connections if connection._is_torn()]
            if ready or (left is not None and left <= 0):
                return ready


def _slice(left: float | None) -> float:
    return SLICE if left is None else min(SLICE, left)
