"""`SharedMemoryManager`: blocks of shared memory that end with its server.

    SharedMemory(size)      made here, its name told to the server, which unlinks it when it is shut down

A server whose manager is killed is killed with it; the blocks then are unlinked as those of any program are that ends
in this way.
"""

import os
from importlib import import_module
from multiprocessing import managers as standard
from multiprocessing import util
from typing import Any, ClassVar

from procession._serve.manager import BaseManager
from procession._serve.messages import Line
from procession._serve.server import Server

# mypy: disable-error-code="override, misc, attr-defined"


def _shared_memory() -> Any:
    return import_module("procession.shared_memory")  # above us


class _SharedMemoryTracker:
    """The names of the blocks, and their ends."""

    def __init__(self, name: str, segment_names: list[str] | None = None) -> None:
        self.shared_memory_context_name = name
        self.segment_names = [] if segment_names is None else segment_names

    def register_segment(self, segment_name: str) -> None:
        """One more block."""
        util.debug("register segment %r in pid %s", segment_name, os.getpid())
        self.segment_names.append(segment_name)

    def destroy_segment(self, segment_name: str) -> None:
        """Unlink a block."""
        util.debug("destroy segment %r in pid %s", segment_name, os.getpid())
        self.segment_names.remove(segment_name)
        try:
            segment = _shared_memory().SharedMemory(segment_name)
        except FileNotFoundError:
            return  # its maker has unlinked it
        segment.close()
        segment.unlink()

    def unlink(self) -> None:
        """Unlink all blocks."""
        for name in list(self.segment_names):
            self.destroy_segment(name)


class SharedMemoryServer(Server):
    """A server that also unlinks blocks of shared memory."""

    __module__ = "procession.managers"

    public: ClassVar[list[str]] = [*Server.public, "track_segment", "release_segment", "list_segments"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        address = os.fsdecode(self.address) if isinstance(self.address, bytes) else self.address
        self.shared_memory_context = _SharedMemoryTracker(f"shm_{address}_{os.getpid()}")

    def create(self, c: Line, typeid: str, /, *args: Any, **kwargs: Any) -> tuple[str, tuple[str, ...]]:
        """Make an object of a registered type; those that ask for it get the tracker of blocks."""
        if typeid in self.registry and hasattr(self.registry[typeid][-1], "_shared_memory_proxy"):
            kwargs["shared_memory_context"] = self.shared_memory_context
        return super().create(c, typeid, *args, **kwargs)

    def shutdown(self, c: Line) -> None:
        """Unlink all blocks, and end the server."""
        self.shared_memory_context.unlink()
        super().shutdown(c)

    def track_segment(self, c: Line, segment_name: str) -> None:  # noqa: ARG002
        """Unlink this block at the end."""
        self.shared_memory_context.register_segment(segment_name)

    def release_segment(self, c: Line, segment_name: str) -> None:  # noqa: ARG002
        """Unlink this block now."""
        self.shared_memory_context.destroy_segment(segment_name)

    def list_segments(self, c: Line) -> list[str]:  # noqa: ARG002
        """The names of the blocks."""
        return self.shared_memory_context.segment_names


class SharedMemoryManager(BaseManager, standard.SharedMemoryManager):
    """Makes blocks of shared memory, and lists in such, which are unlinked when it is shut down."""

    __module__ = "procession.managers"

    _Server = SharedMemoryServer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        import_module("procession.resource_tracker").ensure_running()  # one for us and the server
        BaseManager.__init__(self, *args, **kwargs)

    def __del__(self) -> None:
        util.debug("%s.__del__ by pid %s", type(self).__name__, os.getpid())

    def SharedMemory(self, size: int) -> Any:
        """A new block of that many bytes."""
        return self._track(lambda: _shared_memory().SharedMemory(None, create=True, size=size), lambda it: it)

    def ShareableList(self, sequence: Any) -> Any:
        """A new list of numbers, strings, bytes and None in a block of its own."""
        return self._track(lambda: _shared_memory().ShareableList(sequence), lambda it: it.shm)

    def _track(self, make: Any, block_of: Any) -> Any:
        with self._Client(self._address, authkey=self._authkey):
            made = make()
        block = block_of(made)
        try:
            self._request("track_segment", (block.name,))
        except BaseException:
            block.close()
            block.unlink()
            raise
        return made
