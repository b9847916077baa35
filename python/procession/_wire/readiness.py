"""`wait()`: until something of many can be read, or has ended.

As the standard library's, over poll(2), with two things more: a process stands for its
sentinel, and may be waited for beside it; and what a death has done is looked for, which no
descriptor tells: a connection whose message was torn is ready, and so is a queue to which
items of a dead consumer have come back.
"""

from collections.abc import Iterable, Iterator
from multiprocessing.process import BaseProcess
from selectors import EVENT_READ, PollSelector
from typing import Any, Final, Protocol, runtime_checkable

from procession._base.deadline import Deadline

SLICE: Final = 0.1  # seconds between two looks at what its descriptor does not tell


@runtime_checkable
class Silent(Protocol):
    """What may be ready although its descriptor says nothing."""

    def _look(self) -> bool: ...


def wait(object_list: Iterable[Any], timeout: float | None = None) -> list[Any]:
    """Those of the objects that are ready, as soon as one is; none when `timeout` seconds have passed.

    An object is a connection, a socket, a queue, a process, anything with `fileno()`,
    or a descriptor such as a process's sentinel. A connection is ready when `recv()` would
    not block, a process when it has ended.
    """
    with PollSelector() as selector:
        for obj in object_list:
            _register(selector, obj)
        silent = [obj for obj in _objects(selector) if isinstance(obj, Silent)]
        deadline = Deadline.after(timeout)
        while True:
            left = deadline.seconds()
            found = selector.select(_slice(left) if silent else left)
            ready = [obj for key, _ in found for obj in key.data]
            if not ready:
                ready = [obj for obj in silent if obj._look()]
            if ready or (left is not None and left <= 0):
                return ready


def _register(selector: PollSelector, obj: Any) -> None:
    """A process and its sentinel are registered once and are ready together; anything else twice is a KeyError."""
    what = obj.sentinel if isinstance(obj, BaseProcess) else obj
    try:
        selector.register(what, EVENT_READ, [obj])
    except KeyError:
        same = selector.get_key(what).data
        if not any(isinstance(each, BaseProcess) for each in (obj, *same)):
            raise
        same.append(obj)


def _objects(selector: PollSelector) -> Iterator[Any]:
    for key in selector.get_map().values():
        yield from key.data


def _slice(left: float | None) -> float:
    return SLICE if left is None else min(SLICE, left)
