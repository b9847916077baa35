"""The same work on the standard library and on procession, interleaved in one run.

    python benchmarks/run.py [--rounds 7] [--only TEXT] [--json FILE]

Each row is measured in rounds; a round measures the standard library, procession and, where there is one, the floor (the
same statement on a type written in C that does one atomic exchange per call), one after the other, so that what else the
machine does meets all alike. The figure is the median of the rounds. Loops are timeit's: the same text for all, and the
loop's own cost is in every figure.
"""

import argparse
import json
import math
import multiprocessing
import os
import pathlib
import platform
import queue
import statistics
import subprocess
import sys
import time
import timeit
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import connections
import containers
import dict_peers
import managers
import pools
import procession
import queues
import starts
from floor import compile_floor
from procession import _native
from report import human, mark
from rows import Measure, Refused, Row

SLICE = 0.02  # seconds that one measurement of a short statement takes


@dataclass
class Result:
    """What the report needs of a row: medians in seconds."""

    work: str
    standard: float
    ours: float
    floor: float | None
    bound: float
    aim: float | None
    aim_of_floor: float | None
    peers: dict[str, float]
    unit: str
    note: str = ""


def statement(text: str, **names: Any) -> Measure:
    """Seconds per execution of a statement. The number of loops is settled at the first call, for all rounds."""
    timer = timeit.Timer(text, globals=names)
    loops = 0

    def measure() -> float:
        nonlocal loops
        if not loops:
            loops, took = timer.autorange()
            loops = max(1, int(loops * SLICE / took))
        return timer.timeit(loops) / loops

    return measure


def contend(mp: Any, processes: int, increments: int) -> Measure:
    """Seconds per increment, `processes` at a time contending for one Lock around a Value; the total is verified."""

    def work(lock: Any, value: Any, ready: int, go: int, done: int) -> None:
        os.write(ready, b"r")
        os.read(go, 1)
        began = time.monotonic()
        for _ in range(increments):
            with lock:
                value.value += 1
        os.write(done, b"%a %a\n" % (began, time.monotonic()))

    def measure() -> float:
        lock, value = mp.Lock(), mp.Value("q", 0)
        pipes = [os.pipe() for _ in range(3)]
        (is_ready, ready), (go, start), (finished, done) = pipes
        children = [mp.Process(target=work, args=(lock, value, ready, go, done)) for _ in range(processes)]
        for child in children:
            child.start()
        for _ in children:
            os.read(is_ready, 1)
        os.write(start, b"g" * processes)
        for child in children:
            child.join()
        spans = [tuple(map(float, line.split())) for line in os.read(finished, 1 << 16).splitlines()]
        for end in (end for pipe in pipes for end in pipe):
            os.close(end)
        total = processes * increments
        if value.value != total:
            raise AssertionError(f"{mp}: {value.value} increments of {total}")
        return (max(end for _, end in spans) - min(began for began, _ in spans)) / total

    return measure


def start_and_join(mp: Any, times: int = 30) -> Measure:
    def measure() -> float:
        began = time.perf_counter()
        for _ in range(times):
            process = mp.Process(target=int)
            process.start()
            process.join()
        return (time.perf_counter() - began) / times

    return measure


def whole_process(code: str, times: int = 4) -> Measure:
    command = [sys.executable, "-c", code]

    def measure() -> float:
        began = time.perf_counter()
        for _ in range(times):
            subprocess.run(command, check=True)
        return (time.perf_counter() - began) / times

    return measure


def turns(mp: Any, make: Callable[[Any], list[Callable[[], Any]]], times: int, *, busy: bool) -> Measure:
    """Seconds per turn; `make` gives what each process does in a turn, ours first. Busy: all on one processor."""

    def measure() -> float:
        ours, *others = make(mp)
        processors = os.sched_getaffinity(0)

        def work(act: Callable[[], Any]) -> None:
            for _ in range(times):
                act()

        if busy:
            os.sched_setaffinity(0, {min(processors)})
        try:
            children = [mp.Process(target=work, args=(act,)) for act in others]
            for child in children:
                child.start()
            ours()  # the others are there
            began = time.perf_counter()
            for _ in range(times - 1):
                ours()
            took = time.perf_counter() - began
            for child in children:
                child.join()
        finally:
            os.sched_setaffinity(0, processors)
        if any(child.exitcode for child in children):
            raise AssertionError(f"{mp}: {children}")
        return took / (times - 1)

    return measure


def event_round_trip(mp: Any) -> list[Callable[[], Any]]:
    there, back = mp.Event(), mp.Event()

    def ask() -> None:
        there.set()
        back.wait()
        back.clear()

    def answer() -> None:
        there.wait()
        there.clear()
        back.set()

    return [ask, answer]


def condition_turns(mp: Any) -> list[Callable[[], Any]]:
    condition, turn = mp.Condition(), mp.RawValue("i", 0)

    def player(me: int) -> Callable[[], None]:
        def play() -> None:
            with condition:
                while turn.value != me:
                    condition.wait()
                turn.value = 1 - me
                condition.notify()

        return play

    return [player(0), player(1)]


def set_event(mp: Any) -> Any:
    event = mp.Event()
    event.set()
    return event


def barrier_of_four(mp: Any) -> list[Callable[[], Any]]:
    return [mp.Barrier(4).wait] * 4


def _median(figures: list[float]) -> float:
    """No number where any is none: a peer that once gave other items than were put is wrong."""
    return math.nan if any(map(math.isnan, figures)) else statistics.median(figures)


def rows() -> list[Row]:
    std, ours = multiprocessing.get_context("fork"), procession.get_context("fork")
    floor_lock = compile_floor()
    floor = floor_lock() if floor_lock else None
    made: list[Row] = []

    def add(
        work: str,
        bound: float,
        aim: float | None,
        text: str,
        make: Callable[[Any], dict[str, Any]],
        **more: Any,
    ) -> None:
        made.append(
            Row(work, statement(text, **make(std)), statement(text, **make(ours)), bound, aim, **more)
        )

    def on_floor(text: str) -> Measure | None:
        return statement(text, lock=floor) if floor else None

    for name in ("Lock", "RLock"):
        text = "with lock: pass"
        # The aim is nine tenths of the floor; the bound is against the standard library.
        add(
            f"`with lock:` ({name})",
            2,
            None,
            text,
            lambda mp, name=name: {"lock": getattr(mp, name)()},
            floor=on_floor(text),
            aim_of_floor=0.9,
        )
    for name in ("Lock", "RLock"):
        text = "lock.acquire(); lock.release()"
        add(
            f"`acquire()` + `release()` ({name})",
            1.2,
            1.5,
            text,
            lambda mp, name=name: {"lock": getattr(mp, name)()},
            floor=on_floor(text),
        )
    increment = "with v.get_lock(): v.value += 1"
    add("`with v.get_lock(): v.value += 1`", 2, 3, increment, lambda mp: {"v": mp.Value("q", 0)})
    made.append(
        Row(
            "`v.add(1)`, against that statement",
            statement(increment, v=std.Value("q", 0)),
            statement("v.add(1)", v=ours.Value("q", 0)),
            5,
            8,
        )
    )
    add("`v.value`", 2, 4, "v.value", lambda mp: {"v": mp.Value("q", 0)})
    add("creating a `Lock`", 20, 50, "Lock()", lambda mp: {"Lock": mp.Lock})
    for processes, increments in ((2, 20_000), (4, 10_000)):
        made.append(
            Row(
                f"{processes} processes, one `Lock` around a `Value`",
                contend(std, processes, increments),
                contend(ours, processes, increments),
                1,
                1.5,
            )
        )
    for text, bound, aim in (("with s: pass", 1.7, 2.2), ("s.acquire(); s.release()", 1, 1.3)):
        add(f"`{text}` (Semaphore)", bound, aim, text, lambda mp: {"s": mp.Semaphore(3)})
    for text, name in (("e.set()", "with nobody waiting"), ("e.is_set()", "set")):
        add(f"`{text}`, {name}", 3, 10, text, lambda mp: {"e": set_event(mp)})
    items = "a[50] = 1; a[50]"
    for text, name in ((items, "item set + got"), ("a[0:100]", "slice of 100")):
        add(f"Array, {name}", 2, 4, text, lambda mp: {"a": mp.Array("i", 1000)})
    for name, arguments in (("Event", ""), ("Condition", ""), ("Barrier", "4")):
        add(f"creating a `{name}`", 20, 50, f"T({arguments})", lambda mp, name=name: {"T": getattr(mp, name)})
    for busy in (True, False):
        kind = "busy" if busy else "idle"
        for work, make, bound, aim in (
            ("Event round trip", event_round_trip, 4, 10),
            ("Condition turn and back", condition_turns, 2, 5),
        ):
            pair = [turns(mp, make, 1000, busy=busy) for mp in (std, ours)]
            made.append(Row(f"{work} between two processes, {kind}", *pair, bound, aim))
    pair = [turns(mp, barrier_of_four, 500, busy=False) for mp in (std, ours)]
    made.append(Row("Barrier of 4 processes", *pair, 2, 4))
    made.append(Row("`Process` start + join by fork", start_and_join(std), start_and_join(ours), 1, 1.3))
    made += queues.rows() + connections.rows() + starts.rows() + containers.rows() + pools.rows()
    made += managers.rows() + dict_peers.rows()
    made.append(
        Row(
            "import, whole process",
            whole_process("import multiprocessing"),
            whole_process("import procession"),
            1 / 1.3,
            1 / 1.05,
        )
    )
    return made


def footprint(mp: Any, objects: int = 100) -> dict[str, float]:
    """Descriptors and names in /dev/shm that one more object costs."""

    def count() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/dev/shm"))

    first = mp.Lock(), mp.Value("q", 0)  # what the first of its kind costs, once
    before = count()
    kept = [(mp.Lock(), mp.Value("q", 0)) for _ in range(objects // 2)]
    after = count()
    del kept, first
    return {"descriptors": (after[0] - before[0]) / objects, "names": (after[1] - before[1]) / objects}


def take(items: Any, count: int) -> None:
    for _ in range(count):
        items.get()


def left_of_a_gigabyte(ctx: Any) -> int:
    """Bytes of the arena that stay when a gigabyte has gone through a queue, and whoever waits has found it idle."""
    before = _native.fsck()["bytes_committed"]
    items = ctx.Queue()
    taker = ctx.Process(target=take, args=(items, 1024))
    taker.start()
    for _ in range(1024):
        items.put(bytes(1 << 20))
    taker.join()
    try:
        items.get(timeout=2.5)
        raise AssertionError(f"{taker} has left something")
    except queue.Empty:
        return int(_native.fsck()["bytes_committed"] - before)


def measure(selected: list[Row], rounds: int) -> list[Result]:
    results = []
    for row in selected:
        try:
            for _ in range(rounds):
                row.round()
        except Refused as refusal:
            results.append(Result(row.work, 0, 0, None, row.bound, row.aim, None, {}, row.unit, str(refusal)))
            print(f"{row.work:<46} {refusal}", flush=True)
            continue
        standard, ours = (statistics.median(row.rounds[name]) for name in ("standard", "ours"))
        floor = statistics.median(row.rounds["floor"]) if row.floor else None
        peers = {name: _median(row.rounds[name]) for name in row.peers}
        result = Result(
            row.work, standard, ours, floor, row.bound, row.aim, row.aim_of_floor, peers, row.unit
        )
        results.append(result)
        print(
            f"{row.work:<46} {human(standard, row.unit):>10} {human(ours, row.unit):>10} {standard / ours:>7.2f} x  "
            f"{mark(asdict(result))}",
            *(f"{name} {human(took, row.unit)}" for name, took in peers.items()),
            flush=True,
        )
    return results


def machine() -> dict[str, Any]:
    cpu = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    described = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True)
    return {
        "python": platform.python_version(),
        "commit": described.stdout.strip() or "unknown",
        "cpu": cpu,
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "load": os.getloadavg()[0],
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    facts = machine()
    print(
        f"Python {facts['python']}, {facts['cpus']} x {facts['cpu']}, load {facts['load']:.1f}, commit {facts['commit']}"
    )
    results = measure([row for row in rows() if options.only in row.work], options.rounds)
    feet = {
        "standard": footprint(multiprocessing.get_context("fork")),
        "ours": footprint(procession.get_context("fork")),
    }
    left = left_of_a_gigabyte(procession.get_context("fork"))
    print(f"a gigabyte through a Queue: {left} bytes more of the arena than before")
    print(
        f"per object: {feet['ours']['descriptors']:g} descriptors, {feet['ours']['names']:g} names in /dev/shm"
    )
    if options.json:
        options.json.write_text(
            json.dumps(
                {
                    **facts,
                    "rounds": options.rounds,
                    "rows": [asdict(r) for r in results],
                    "footprint": feet,
                    "left_of_a_gigabyte": left,
                }
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
