"""Rows of starting processes. Each measurement is a program of its own that children import: `start_program.py`."""

import pathlib
import subprocess
import sys

from rows import Measure, Row

PROGRAM = pathlib.Path(__file__).with_name("start_program.py")


def program(module: str, method: str, kind: str, megabytes: int = 0) -> Measure:
    command = [sys.executable, PROGRAM, module, method, kind, str(megabytes)]

    def measure() -> float:
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    return measure


def rows() -> list[Row]:
    """Every start method; one start after the other, and fifty at once."""
    table = (
        ("`Process` start + join by forkserver", "forkserver", "one", 4, 8),
        ("`Process` start + join by spawn", "spawn", "one", 1.5, 2.5),
        ("50 starts at once by forkserver, each", "forkserver", "fifty", 4, 8),
        ("50 starts at once by spawn, each", "spawn", "fifty", 1.3, 2),
    )
    made = [
        Row(
            work, *(program(module, method, kind) for module in ("multiprocessing", "procession")), bound, aim
        )
        for work, method, kind, bound, aim in table
    ]
    empty, full = (program("procession", "forkserver", "one", megabytes) for megabytes in (0, 1000))
    made.append(Row("forkserver, 1 GB touched in the parent, against an empty one", empty, full, 0.9, None))
    return made
