"""The ends of a queue as if it were a pipe: what the standard library's pools and executors hold in their hands.

    inqueue._writer.send(task)      queue.put(task)
    outqueue._reader.recv()         queue.get()
    outqueue._reader.poll()         not queue.empty()
    wait([queue._reader, ...])      queue.fileno()

Each end can be closed in a process of its own; the other end, and other processes, go on.
"""

from types import TracebackType
from typing import Any, Final, Self

from procession._wire import items

READER: Final = 1
WRITER: Final = 2


class _End:
    """One end; made anew whenever it is asked for, so equal by its queue."""

    _side: int

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._queue is self._queue

    def __hash__(self) -> int:
        return hash((self._side, id(self._queue)))

    @property
    def closed(self) -> bool:
        """Whether this process has closed this end."""
        return bool(self._queue._closed_ends & self._side)

    @property
    def readable(self) -> bool:
        return self._side == READER

    @property
    def writable(self) -> bool:
        return self._side == WRITER

    def close(self) -> None:
        """Close this end in this process."""
        self._queue._close_ends(self._side)

    def fileno(self) -> int:
        """A descriptor that is readable while the queue is not empty."""
        if self.closed:
            raise OSError("handle is closed")
        number: int = self._queue.fileno()
        return number

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Reader(_End):
    """Where items are got."""

    _side = READER

    def recv(self) -> Any:
        """The next item."""
        return self._queue._take()

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """The pickle of the next item."""
        data = items.dumps(self.recv())
        if maxlength is not None and len(data) > maxlength:
            raise OSError("bad message length")
        return data

    def _look(self) -> bool:
        """What `connection.wait()` asks after each slice."""
        there: bool = self._queue._look()
        return there

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Whether there is an item, or comes one before the timeout."""
        if self.closed:
            raise OSError("handle is closed")
        there: bool = self._queue._poll(timeout)
        return there


class Writer(_End):
    """Where items are put."""

    _side = WRITER

    def send(self, obj: Any) -> None:
        """Put an item."""
        self._queue._give(obj)

    def send_bytes(self, buf: Any, offset: int = 0, size: int | None = None) -> None:
        """Put what these bytes are the pickle of."""
        data = memoryview(buf).cast("B")[offset:]
        self.send(items.loads(data if size is None else data[:size]))
