"""Pickling what lies in a container: by reference what is shared itself, by value all else.

A shared object inside a value is kept alive by the value, as long as that lies in the container.
"""

import pickle
from io import BytesIO
from typing import Any

from procession import _native
from procession._wire import reducers

loads = pickle.loads


def dumps(obj: object, nonce: bytes, most: int) -> tuple[bytes, list[Any]]:
    """The pickle of `obj`, and the objects of that arena that it refers to, `most` at most."""
    into = BytesIO()
    pickler = pickle.Pickler(into, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = reducers.table()
    _, found = _native.gather(pickler.dump, obj, nonce, most)
    return into.getvalue(), found
