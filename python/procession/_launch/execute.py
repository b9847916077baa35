"""Running a program with few descriptors, and hearing of it when that fails."""

import _posixsubprocess
import os
import subprocess
from collections.abc import Iterable, Sequence
from itertools import starmap


def execute(
    made: list[int], path: bytes | str, arguments: Sequence[bytes | str], descriptors: Iterable[int]
) -> None:
    """Start a program that has the standard streams and these descriptors.

    Its pid is in `made` as soon as there is one, whatever a signal's handler raises. OSError when
    the program cannot be run; nothing is left then.
    """
    kept = set(descriptors)
    words = [os.fsencode(word) for word in arguments]
    reader, writer = os.pipe()
    try:
        try:
            # It keeps the end to report on, too, which is closed when the program runs.
            _fork_exec(made, words, os.fsencode(path), tuple(sorted({*kept, writer})), reader, writer)
        finally:
            os.close(writer)
        report = _read(reader)
    finally:
        os.close(reader)
    if report:  # `OSError:<errno, hexadecimal>:` from the child, which has ended
        os.waitpid(made.pop(), 0)
        errno = int(report.split(b":")[1], 16)
        raise OSError(errno, os.strerror(errno), os.fsdecode(path))


def _read(fd: int) -> bytes:
    report = b""
    while part := os.read(fd, 1000):
        report += part
    return report


# 3.14 dropped the last argument: whether vfork may be used.
_VFORK = (subprocess._USE_VFORK,) if hasattr(subprocess, "_USE_VFORK") else ()


def _fork_exec(
    made: list[int], words: list[bytes], path: bytes, kept: tuple[int, ...], reader: int, writer: int
) -> None:
    streams = (-1,) * 6
    arguments = (
        words, [path], True, kept, None, None, *streams, reader, writer,
        False, False, -1, None, None, None, -1, None, *_VFORK,
    )  # fmt: skip
    made.extend(starmap(_posixsubprocess.fork_exec, (arguments,)))
