"""Pickling what lies in a container: by reference what is shared itself, by value all else.

A shared object inside a value is kept alive by the value, as long as that lies in the container.
"""

import copyreg
import pickle
from collections import ChainMap
from io import BytesIO
from multiprocessing.reduction import ForkingPickler

from procession._wire import carry

loads = pickle.loads

_REDUCERS = ChainMap(ForkingPickler._extra_reducers, copyreg.dispatch_table)  # type: ignore[attr-defined]


def dumps(obj: object, nonce: bytes, most: int) -> tuple[bytes, list[carry.Shared]]:
    """The pickle of `obj`, and the objects of that arena that it refers to, `most` at most."""
    into = BytesIO()
    pickler = pickle.Pickler(into, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = _REDUCERS
    with carry.collecting(nonce, most) as found:
        pickler.dump(obj)
    return into.getvalue(), list(found.values())
