"""Rows of pools: the same tasks through both, every result checked."""

import concurrent.futures
import contextlib
import gc
import multiprocessing
import os
import pathlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import procession
from peers import PEERS
from rows import Measure, Row

Act = Callable[[Any, int], None]

MEGABYTE = np.arange(1 << 17)
LARGE = 256 << 20


def square(x: int) -> int:
    return x * x


def negative(array: np.ndarray) -> np.ndarray:
    return -array


def last(array: np.ndarray) -> int:
    return int(array[-1]) + len(array)


def check(got: Any, wanted: Any) -> None:
    if got != wanted:
        raise AssertionError(f"other results: {got!r:.100}, not {wanted!r:.100}")


def told(_done: int, _total: int | None) -> None:
    """A report of progress that is made nothing of."""


def squares(count: int) -> list[int]:
    return [x * x for x in range(count)]


# ---- what a pool is to do --------------------------------------------------------------------


def map_all(pool: Any, count: int) -> None:
    check(pool.map(square, range(count)), squares(count))


def map_singly(pool: Any, count: int) -> None:
    check(pool.map(square, range(count), chunksize=1), squares(count))


def call_and_get(pool: Any, count: int) -> None:
    results = [pool.apply_async(square, (x,)) for x in range(count)]
    check([result.get() for result in results], squares(count))


def call_back(pool: Any, count: int) -> None:
    got: list[int] = []
    done = threading.Event()

    def note(value: int) -> None:
        got.append(value)
        if len(got) == count:
            done.set()

    for x in range(count):
        pool.apply_async(square, (x,), callback=note)
    done.wait()
    check(sorted(got), squares(count))


def apply_each(pool: Any, count: int) -> None:
    check([pool.apply(square, (x,)) for x in range(count)], squares(count))


def unordered(pool: Any, count: int) -> None:
    check(sorted(pool.imap_unordered(square, range(count))), squares(count))


def submit_each(executor: Any, count: int) -> None:
    futures = [executor.submit(square, x) for x in range(count)]
    check([future.result() for future in futures], squares(count))


def map_arrays(pool: Any, count: int) -> None:
    for result in pool.imap(negative, (MEGABYTE for _ in range(count))):
        check(int(result[-1]), -int(MEGABYTE[-1]))


# ---- how it is measured ------------------------------------------------------------------------


def in_pool(
    make: Callable[[], Any], act: Act, count: int, *, warm: int = 100, alone: bool = False
) -> Measure:
    """Seconds per task, of a pool that has begun before. `alone`: on one processor."""

    def measure() -> float:
        processors = os.sched_getaffinity(0)
        if alone:
            os.sched_setaffinity(0, {min(processors)})
        try:
            with make() as pool:
                act(pool, warm)
                began = time.perf_counter()
                act(pool, count)
                return (time.perf_counter() - began) / count
        finally:
            os.sched_setaffinity(0, processors)

    return measure


def broadcast(mp: Any) -> Measure:
    """Seconds for one large array to four workers."""

    def measure() -> float:
        array = np.ones(LARGE // 8)
        with mp.Pool(4) as pool:
            pool.map(square, range(8), 1)
            began = time.perf_counter()
            check(pool.map(last, [array] * 4, chunksize=1), [1 + len(array)] * 4)
            return time.perf_counter() - began

    return measure


def life(module: str, method: str, *modules: str) -> Measure:
    """Seconds for a pool of four to start, map and end, in a program that imports these modules."""
    program = pathlib.Path(__file__).with_name("pool_program.py")
    command = [sys.executable, program, module, method, *modules]

    def measure() -> float:
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    return measure


def memory(module: str) -> Measure:
    """Bytes that a map over a million ints costs the parent at its worst; in an interpreter of its own. "" is no pool."""
    command = [sys.executable, __file__, module]
    folder = pathlib.Path(__file__).parent

    def measure() -> float:
        return float(subprocess.run(command, check=True, capture_output=True, cwd=folder).stdout)

    return measure


def memory_of_map(mp: Any) -> int:
    count = 1_000_000
    items = list(range(count))

    def peak() -> int:
        for line in pathlib.Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise AssertionError

    with mp.Pool(2) if mp else contextlib.nullcontext() as pool:
        work = pool.map if pool else lambda act, todo: [act(item) for item in todo]
        work(square, range(1000))
        gc.collect()
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = peak()
        got = work(square, items)
        after = peak()
        check(got[-1], (count - 1) ** 2)
    return after - before


def rows() -> list[Row]:
    std, ours = multiprocessing.get_context("fork"), procession.get_context("fork")

    def row(work: str, bound: float, aim: float, act: Act, count: int, more: int = 1, **how: Any) -> Row:
        both = [
            in_pool(lambda mp=mp: mp.Pool(2), act, n, **how) for mp, n in ((std, count), (ours, count * more))
        ]
        peers = {name: in_pool(peer, act, count) for name, peer in PEERS.items() if act in peer.can_do}
        return Row(work, *both, bound, aim, peers=peers)

    def executor(kind: Any, mp: Any) -> Callable[[], Any]:
        return lambda: kind(2, mp)

    made = [
        row("Pool(2), `map` of 1e5 tiny tasks", 1.2, 2, map_all, 100_000),
        row("`map`, chunksize=1", 4, 8, map_singly, 10_000, 4),
        row("`apply_async` + `get`", 4, 8, call_and_get, 10_000),
        row("`apply_async` with a callback", 4, 8, call_back, 10_000),
        row("`apply`, one at a time, busy", 4, 8, apply_each, 1000, 4, alone=True),
        row("`apply`, one at a time, idle", 4, 8, apply_each, 1000, 4),
        row("`imap_unordered`", 4, 8, unordered, 10_000, 4),
        Row(
            "ProcessPoolExecutor, submit + result",
            in_pool(executor(concurrent.futures.ProcessPoolExecutor, std), submit_each, 5000),
            in_pool(executor(procession.ProcessPoolExecutor, ours), submit_each, 20_000),
            8, 16,
        ),
        row("`imap` of 1 MB arrays, in and out", 8, 15, map_arrays, 100, 4, warm=4),
        Row("one 256 MiB array to 4 workers", broadcast(std), broadcast(ours), 12, 20),
    ]  # fmt: skip
    for method, bound, aim in (("fork", 1.2, 2), ("forkserver", 3, 6), ("spawn", 1.5, 2.5)):
        both = [life(module, method) for module in ("multiprocessing", "procession")]
        made.append(Row(f"Pool(4) by {method}, start + `map` + `join`", *both, bound, aim))
    # Most of what is measured there is numpy's import: by spawn each worker has it before it.
    for method, bound, aim in (("forkserver", 3, 6), ("spawn", 1, 1.5)):
        both = [life(module, method, "numpy") for module in ("multiprocessing", "procession")]
        made.append(Row(f"Pool(4) by {method}, the same, of a program that imports numpy", *both, bound, aim))
    made.append(
        Row(
            "memory of `map` over 1e6 ints",
            memory("multiprocessing"),
            memory("procession"),
            2,
            None,
            floor=memory(""),  # the results themselves
            unit="B",
        )
    )
    plain = in_pool(lambda: ours.Pool(2), map_singly, 200_000)
    for extra in ({"timeout": 60.0}, {"retries": 2}, {"progress": told}):
        (name,) = extra

        def with_extra(pool: Any, count: int, extra: dict[str, Any] = extra) -> None:
            map_singly(pool.options(**extra), count)

        measured = in_pool(lambda: ours.Pool(2), with_extra, 200_000)
        made.append(Row(f"`map`, with `{name}=` against without", plain, measured, 1 / 1.1, 1 / 1.03))
    return made


if __name__ == "__main__":
    modules = {"procession": procession, "multiprocessing": multiprocessing}
    print(memory_of_map(modules[sys.argv[1]].get_context("fork") if sys.argv[1] else None))
