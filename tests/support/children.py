"""Fixtures: children that tests start, and the gates that put their steps in order."""

import os
import select
from collections.abc import Callable, Iterator
from multiprocessing import reduction
from typing import Any

import pytest

PATIENCE = 20.0  # seconds before a test gives up on a step that never comes


class Gate:
    """Opens once per `open()`, for one `wait()`, in whatever process."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()

    def __reduce__(self) -> tuple[Callable[..., "Gate"], tuple[Any, ...]]:
        return _gate_of, (reduction.DupFd(self._reader), reduction.DupFd(self._writer))

    def open(self) -> None:
        os.write(self._writer, b".")

    def wait(self) -> None:
        if not select.select([self._reader], [], [], PATIENCE)[0]:
            raise TimeoutError("the gate did not open")
        os.read(self._reader, 1)

    def is_open(self) -> bool:
        return bool(select.select([self._reader], [], [], 0)[0])

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


def _gate_of(reader: Any, writer: Any) -> Gate:
    """In a process that is no copy of the one that made it."""
    gate = Gate.__new__(Gate)
    gate._reader, gate._writer = reader.detach(), writer.detach()
    return gate


@pytest.fixture
def gate() -> Iterator[Callable[[], Gate]]:
    """Makes gates and closes them after the test."""
    made: list[Gate] = []

    def make() -> Gate:
        made.append(Gate())
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Any]]:
    """Starts a process of a context; what still runs after the test is killed."""
    started: list[Any] = []

    def launch(ctx: Any, target: Callable[..., Any], *args: Any, **options: Any) -> Any:
        process = ctx.Process(target=target, args=args, **options)
        started.append(process)
        process.start()
        return process

    yield launch
    for process in started:
        if not process._closed:
            process.kill()
            process.join()
            process.close()


def finish(process: Any) -> int:
    """Wait for a process; its exit code."""
    process.join(PATIENCE)
    assert process.exitcode is not None, f"{process} does not end"
    code: int = process.exitcode
    return code
