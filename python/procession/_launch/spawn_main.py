"""Where a spawned child begins."""

import atexit
import os
import sys

from procession import _native
from procession._launch import arrival


def main(data: int) -> None:
    """Become the process that `data` describes, and end as an interpreter does."""
    atexit.register(_native.leave)  # first, so that it comes after all others
    with os.fdopen(data, "rb") as file:
        process_obj = arrival.begin(file)
    sys.exit(process_obj._bootstrap(arrival.here.parent_sentinel))  # type: ignore[attr-defined]
