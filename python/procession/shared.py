"""Containers in shared memory: dict, list, set, Namespace, counter; array, numpy's over shared memory; and freeze.

    from procession import shared

    words = shared.dict[str, int]()
    words.incr("the")

Every process that has one reads and writes the same: an argument of a process, an item of
another container, a copy by pickle, all of them are handles. The last handle frees it.
"""

from procession._shared.buffers import array
from procession._shared.containers import wiring as _wiring  # noqa: F401  the core knows us before the first object exists
from procession._shared.containers.base import ContainerLock
from procession._shared.containers.counters import Counter
from procession._shared.containers.dicts import Namespace, SharedDict
from procession._shared.containers.lists import SharedList
from procession._shared.containers.sets import SharedSet
from procession._shared.frozen.faces import FrozenDict, FrozenList, FrozenSet, FrozenTuple
from procession._shared.frozen.freezing import freeze

__all__ = [
    "ContainerLock",
    "FrozenDict",
    "FrozenList",
    "FrozenSet",
    "FrozenTuple",
    "Namespace",
    "array",
    "counter",
    "dict",
    "freeze",
    "list",
    "set",
]

counter = Counter
dict = SharedDict
list = SharedList
set = SharedSet
