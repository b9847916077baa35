"""How objects are reduced that pickle does not know by itself: as the standard library does, and arrays."""

import copyreg
from collections.abc import Callable, Mapping
from multiprocessing.reduction import ForkingPickler
from types import MappingProxyType
from typing import Any, Final

from procession._wire import arrays

NONE: Final[Mapping[type, Callable[[Any], Any]]] = MappingProxyType({})


def table(others: Mapping[type, Callable[[Any], Any]] = NONE) -> dict[type, Callable[[Any], Any]]:
    """The reducers that are registered now, for a pickler's `dispatch_table`. `others` come before copyreg's.

    A plain dict: the C pickler looks into it for each object, and into nothing else as quickly.
    """
    return {
        **arrays.reducers(),
        **copyreg.dispatch_table,
        **others,
        **ForkingPickler._extra_reducers,  # type: ignore[attr-defined]
    }
