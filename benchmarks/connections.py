"""Rows of pipes: a stream, a round trip, large messages. Both processes are of one implementation; values are verified."""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from typing import Any

import procession
from rows import Measure, Row

MESSAGES = 10_000
ROUND_TRIPS = 3_000
MEGABYTES = 100


def with_child(mp: Any, duplex: bool, child: Callable[..., None], parent: Callable[[Any], int]) -> Measure:
    """Seconds for one unit of what the parent does with a child at the other end, started and ready."""

    def run(end: Any) -> None:
        end.send("ready")
        child(end)

    def measure() -> float:
        ours, theirs = mp.Pipe(duplex)
        process = mp.Process(target=run, args=(theirs,))
        process.start()
        theirs.close()
        if ours.recv() != "ready":
            raise AssertionError("the child says something else")
        began = time.perf_counter()
        units = parent(ours)
        took = time.perf_counter() - began
        process.join()
        ours.close()
        return took / units

    return measure


def stream(mp: Any, duplex: bool, values: Sequence[Any]) -> Measure:
    def send(end: Any) -> None:
        for value in values:
            end.send(value)

    def receive(end: Any) -> int:
        if [end.recv() for _ in values] != list(values):
            raise AssertionError("other values came out than went in")
        return len(values)

    return with_child(mp, duplex, send, receive)


def round_trip(mp: Any) -> Measure:
    def echo(end: Any) -> None:
        for _ in range(ROUND_TRIPS):
            end.send(end.recv())

    def ask(end: Any) -> int:
        for number in range(ROUND_TRIPS):
            end.send(number)
            if end.recv() != number:
                raise AssertionError("another answer")
        return ROUND_TRIPS

    return with_child(mp, True, echo, ask)


def megabytes(mp: Any, duplex: bool) -> Measure:
    message = bytes(range(250)) * 4000

    def send(end: Any) -> None:
        for _ in range(MEGABYTES):
            end.send_bytes(message)

    def receive(end: Any) -> int:
        for _ in range(MEGABYTES):
            if end.recv_bytes() != message:
                raise AssertionError("other bytes came out than went in")
        return MEGABYTES

    return with_child(mp, duplex, send, receive)


def rows() -> list[Row]:
    std, ours = multiprocessing.get_context("fork"), procession.get_context("fork")
    mixed = [None, True, 7, 2.5, "text", b"bytes", (1, "two"), {"a": [1]}] * (MESSAGES // 8)
    table: tuple[tuple[str, Callable[[Any], Measure], float, float], ...] = (
        ("Pipe: stream of ints", lambda mp: stream(mp, True, range(MESSAGES)), 2, 3),
        ("Pipe, one way: stream of ints", lambda mp: stream(mp, False, range(MESSAGES)), 2, 3),
        ("Pipe: stream of mixed types", lambda mp: stream(mp, True, mixed), 1.5, 2),
        ("Pipe: round trip", round_trip, 1.2, 2),
        ("1 MB bytes through a Pipe", lambda mp: megabytes(mp, True), 2, 4),
        ("1 MB bytes through a Pipe, one way", lambda mp: megabytes(mp, False), 2, 4),
    )
    return [Row(work, measure(std), measure(ours), bound, aim) for work, measure, bound, aim in table]
