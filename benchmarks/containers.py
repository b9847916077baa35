"""Rows of shared containers, beside the standard library's Manager: the same statements on its proxies."""

import atexit
import itertools
import multiprocessing
import os
import pickle
import time
import timeit
import tracemalloc
from collections.abc import Callable
from functools import cache
from typing import Any

import procession
from procession import _native, shared
from rows import Measure, Row

PATIENCE = 60.0  # seconds that a child may take
SLICE = 0.05  # seconds that one measurement of a short statement takes
ENTRIES = 100_000
MILLION, SIZE = 1_000_000, 100
LOOKED_AT = 2000  # of them by a proxy's iteration, whose price for each is the same


@cache
def manager() -> Any:
    """The standard library's server, started by whoever measures first."""
    made = multiprocessing.get_context("fork").Manager()
    atexit.register(made.shutdown)
    return made


def statement(text: str, make: Callable[[], Any]) -> Measure:
    """Seconds for one execution of a statement about `c`, which `make` makes at the first call."""
    timer: timeit.Timer | None = None
    loops = 0

    def measure() -> float:
        nonlocal timer, loops
        if timer is None:
            timer = timeit.Timer(text, globals={"c": make(), "pickle": pickle})
            loops, took = timer.autorange()
            loops = max(1, int(loops * SLICE / took))
        return timer.timeit(loops) / loops

    return measure


def time_of(once: Callable[[], object], loops: int) -> float:
    """Seconds for one call."""
    began = time.monotonic()
    for _ in range(loops):
        once()
    return (time.monotonic() - began) / loops


def by_processes(processes: int, changes: int, make: Callable[[], Any]) -> Measure:
    """Seconds for one set and get, all processes together; each has a key of its own."""

    def work(c: Any, key: int, ready: int, go: int) -> None:
        os.write(ready, b"r")
        os.read(go, 1)
        for number in range(changes):
            c[key] = number
            if c[key] != number:
                os._exit(1)

    def measure() -> float:
        c = make()
        (is_ready, ready), (go, start) = os.pipe(), os.pipe()
        fork = multiprocessing.get_context("fork")
        children = [fork.Process(target=work, args=(c, key, ready, go)) for key in range(processes)]
        for child in children:
            child.start()
        for _ in children:
            os.read(is_ready, 1)
        began = time.monotonic()
        os.write(start, b"g" * processes)
        for child in children:
            child.join(PATIENCE)
        took = time.monotonic() - began
        for fd in (is_ready, ready, go, start):
            os.close(fd)
        for child in children:
            child.kill()
        if any(child.exitcode is None for child in children):
            raise RuntimeError("a child hangs")
        if any(child.exitcode for child in children):
            raise RuntimeError("a child has read what it had not written")
        if any(c[key] != changes - 1 for key in range(processes)):
            raise RuntimeError("what a child has written is lost")
        return took / (processes * changes)

    return measure


def iteration(make: Callable[[], Any], most: int) -> Measure:
    """Seconds for one key of an iteration over a dict of ENTRIES."""
    made = cache(make)

    def measure() -> float:
        c = made()
        began = time.monotonic()
        count = sum(1 for _ in itertools.islice(c, most))
        return (time.monotonic() - began) / count

    return measure


def beside_a_writer(text: str, make: Callable[[], Any]) -> Measure:
    """Seconds for one execution of a statement while another process sets without pause."""
    made = cache(make)
    measured = statement(text, made)

    def write(ready: int) -> None:
        c = made()
        os.write(ready, b"r")
        for number in itertools.count():
            c["w"] = number

    def measure() -> float:
        made()
        is_ready, ready = os.pipe()
        writer = multiprocessing.get_context("fork").Process(target=write, args=(ready,))
        writer.start()
        os.read(is_ready, 1)
        try:
            took = measured()
            if not writer.is_alive():
                raise RuntimeError("the writer has ended")
        finally:
            writer.kill()
            writer.join()
            os.close(is_ready)
            os.close(ready)
        return took

    return measure


@cache
def bytes_of_a_dict() -> float:
    """What the interpreter takes for a million entries of 100 bytes."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    kept = {number: bytes(SIZE) for number in range(MILLION)}
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) * MILLION / len(kept)


@cache
def bytes_of_a_shared_dict() -> float:
    """What the arena takes for them."""

    def committed() -> int:
        _native.sweep()
        _native.give_back()
        found: int = _native.fsck()["bytes_committed"]
        return found

    _native.ensure_arena()
    before = committed()
    kept = shared.dict[int, bytes]()
    for number in range(MILLION):
        kept[number] = bytes(SIZE)
    return (committed() - before) * MILLION / len(kept)


def graph() -> dict[str, list[str]]:
    """What workers are given to look things up in."""
    return {f"key{number}": [f"word{number % 1000}"] for number in range(ENTRIES)}


def to_workers(package: Any, wrap: Callable[[Any], Any], workers: int = 8) -> Measure:
    """Seconds until each worker has been sent a new graph and has looked a key up in it."""

    def work(connection: Any) -> None:
        while True:
            connection.send(connection.recv()["key77"][0])

    @cache
    def made() -> tuple[Any, list[Any]]:
        connections = []
        for _ in range(workers):
            mine, its = package.Pipe()
            package.get_context("fork").Process(target=work, args=(its,), daemon=True).start()
            connections.append(mine)
        return graph(), connections

    def measure() -> float:
        plain, connections = made()
        began = time.monotonic()
        wrapped = wrap(plain)
        for connection in connections:
            connection.send(wrapped)
        if any(connection.recv() != "word77" for connection in connections):
            raise RuntimeError("a worker has read something else")
        return time.monotonic() - began

    return measure


def entries() -> dict[str, int]:
    """What is iterated over."""
    return {f"key{number}": number for number in range(ENTRIES)}


def rows() -> list[Row]:
    """All of them."""

    def both(
        work: str, text: str, standard: Callable[[], Any], ours: Callable[[], Any], *bounds: float
    ) -> Row:
        return Row(work, statement(text, standard), statement(text, ours), *bounds)

    def dicts() -> tuple[Callable[[], Any], Callable[[], Any]]:
        return lambda: manager().dict(k=1), lambda: shared.dict(k=1)

    made = [
        both("shared dict, `d[k]`", "c['k']", *dicts(), 40, 100),
        both("shared dict, `d[k] = 1; d[k]`", "c['k'] = 1; c['k']", *dicts(), 40, 100),
        both(
            "shared list, `l[3] = 1; l[3]`",
            "c[3] = 1; c[3]",
            lambda: manager().list([0] * 10),
            lambda: shared.list([0] * 10),
            40,
            100,
        ),
    ]
    for processes, standard, ours in ((1, 1000, 50_000), (4, 300, 20_000)):
        for kind, theirs, own in (
            ("dict", lambda: manager().dict(), shared.dict),
            ("list", lambda: manager().list([0] * 4), lambda: shared.list([0] * 4)),
        ):
            made.append(
                Row(
                    f"shared {kind}, set and get by {processes} child{'ren' * (processes > 1)}",
                    by_processes(processes, standard, theirs),
                    by_processes(processes, ours, own),
                    40,
                    100,
                )
            )
    made.append(
        Row(
            "shared dict, `for key in d` over 1e5 entries, a key",
            iteration(lambda: manager().dict(entries()), LOOKED_AT),
            iteration(lambda: shared.dict(entries()), ENTRIES),
            20,
            100,
        )
    )
    made.append(
        both(
            "shared dict, `list(d.items())` of 1e5 entries",
            "list(c.items())",
            lambda: manager().dict(entries()),
            lambda: shared.dict(entries()),
            1,
            20,
        )
    )
    made[-1].floor = statement("pickle.loads(pickle.dumps(list(c.items())))", entries)

    def with_a_writers_key(kind: Callable[..., Any]) -> Callable[[], Any]:
        return lambda: kind(k=1, w=0)

    made += [
        Row(
            "a dict of 1e5 lists to 8 workers, each looks one key up: pickled, and by `shared.freeze`",
            to_workers(multiprocessing, lambda plain: plain),
            to_workers(procession, shared.freeze),
            1,
            2,
        ),
        both(
            "frozen dict of 1e5 entries, `d[k]`",
            "c['key77']",
            lambda: manager().dict(entries()),
            lambda: shared.freeze(entries()),
            10,
            40,
        ),
    ]

    alone = statement("c['k']", with_a_writers_key(shared.dict))
    beside = beside_a_writer("c['k']", with_a_writers_key(shared.dict))
    of_standard = beside_a_writer("c['k']", lambda: manager().dict(k=1, w=0))
    made += [
        Row("shared dict, `d[k]` while a process writes without pause", of_standard, beside, 40, 100),
        Row("the same, ours on both sides: without a writer, and with one", alone, beside, 0.5, 0.9),
        Row(
            "shared dict, 1e6 entries of 100 bytes, beside a builtin dict (250 bytes each: 238 MiB)",
            bytes_of_a_dict,
            bytes_of_a_shared_dict,
            1,
            None,
            unit="B",
        ),
    ]
    return made
