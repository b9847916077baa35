"""What `procession run -v` says at the end."""

import os
import sys
from collections.abc import Iterator

from procession import _native


def write(pid: int) -> None:
    """Write the report to stderr, in the process that runs the program and in no copy of it."""
    if os.getpid() == pid:
        sys.stderr.write("".join(f"procession: {line}\n" for line in lines()))


def lines() -> Iterator[str]:
    if _native.has_arena():
        figures = _native.statistics()
        yield f"{figures['objects']} shared objects of procession's at the end"
        yield f"{figures['committed']} bytes of shared memory in use"
    else:
        yield "no shared object of procession's and no process was made"
