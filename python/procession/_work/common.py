"""Arrays that several tasks of one map have in common: copied into the arena once, and seen by each worker as its own."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from procession import _native
from procession._wire import arrays

WORTH_SHARING = 1 << 20
"""Bytes of a buffer from which a map of one's own is quicker than a copy."""


class Common:
    """What the items of one map have in common. Looked for when the first large buffer is met."""

    __slots__ = ("_counts", "_items", "_memories")

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = items
        self._counts: Counter[int] | None = None
        self._memories: dict[tuple[int, int], _native.Memory] = {}

    def copy_of(self, view: memoryview) -> _native.Memory | None:
        """The one copy of a buffer that several items have; None for what only one has."""
        if view.nbytes < WORTH_SHARING:
            return None
        if self._counts is None:
            # The items are alive for as long as their map: an identity is nobody else's.
            self._counts = Counter(map(id, self._items))
            for item in self._items:
                if type(item) is tuple:
                    self._counts.update(map(id, item))
        owner = id(arrays.lender(view.obj))
        if self._counts[owner] < 2:
            return None
        memory = self._memories.get((owner, view.nbytes))
        if memory is None:
            memory = self._memories[owner, view.nbytes] = _native.Memory._buffer(view.nbytes)
            with memoryview(memory) as into:
                into[:] = view
        return memory
