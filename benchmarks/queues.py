"""Rows of queues: the same items through both, every one of them checked where it arrives."""

import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any

import numpy as np

import procession
from queue_peers import QUEUE_PEERS, Put, Take, put_each, put_hundreds, take_each, take_hundreds
from rows import Measure, Row

MIXED = (7, "a text", 2.5, None, True, b"bytes", (1, "two"), -(2**40))
TEN_FIELDS = {
    f"field {n}": value for n, value in enumerate([1, "name", 2.5, ("a", "b"), 3, 4, 0.1, 0.2, True, None])
}


def take_and_finish(q: Any, count: int) -> list[Any]:
    get, task_done = q.get, q.task_done
    taken = []
    for _ in range(count):
        taken.append(get())
        task_done()
    return taken


def take_and_drop(q: Any, count: int) -> list[Any]:
    """What is large is looked at and dropped, as programs do: its ends now, all of the last one later."""
    item, ends = q.get(), set()
    for _ in range(count - 1):
        ends.add((len(item), int(item[0]), int(item[-1])))
        item = q.get()
    ends.add((len(item), int(item[0]), int(item[-1])))
    if len(ends) != 1:
        raise AssertionError(f"items of {len(ends)} kinds")
    return [item] * count


def born_in_the_arena() -> Any:
    array = procession.empty(1 << 20, int)
    array[:] = np.arange(1 << 20)
    return array


def same(one: Any, other: Any) -> bool:
    return (
        bool((one == other).all())
        if isinstance(one, np.ndarray)
        else type(one) is type(other) and one == other
    )


def stream(
    mp: Any,
    make: Callable[[Any], Any],
    items: Sequence[Any],
    count: int,
    *,
    producers: int = 1,
    consumers: int = 1,
    put: Put = put_each,
    take: Take = take_each,
) -> Measure:
    """Seconds per item, from the moment when all are ready until the last has been taken."""
    share, portion = count // producers, count // producers * producers // consumers
    sent = list(islice(cycle(items), share))

    def produce(q: Any, ready: int, go: int) -> None:
        os.write(ready, b"r")
        os.read(go, 1)
        put(q, sent)

    def consume(q: Any, ready: int, go: int, done: int) -> None:
        os.write(ready, b"r")
        os.read(go, 1)
        taken = take(q, portion)
        ended = time.monotonic()
        kinds = sent[: len(items)]
        right = all(any(same(item, kind) for kind in kinds) for item in taken[:: max(1, portion // 500)])
        if producers == consumers == 1:
            right = right and all(map(same, taken, sent))
        os.write(done, b"%a %d\n" % (ended, right))

    def measure() -> float:
        q = make(mp)
        pipes = [os.pipe() for _ in range(3)]
        (is_ready, ready), (go, start), (finished, done) = pipes
        children = [mp.Process(target=produce, args=(q, ready, go)) for _ in range(producers)]
        children += [mp.Process(target=consume, args=(q, ready, go, done)) for _ in range(consumers)]
        for child in children:
            child.start()
        for _ in children:
            os.read(is_ready, 1)
        began = time.monotonic()
        os.write(start, b"g" * len(children))
        for child in children:
            child.join()
        reports = [line.split() for line in os.read(finished, 1 << 16).splitlines()]
        for end in (end for pipe in pipes for end in pipe):
            os.close(end)
        q.close()
        if [right for _, right in reports] != [b"1"] * consumers:
            raise AssertionError(f"{mp}: {reports}")
        return (max(float(ended) for ended, _ in reports) - began) / (portion * consumers)

    return measure


def round_trip(mp: Any, times: int = 2000) -> Measure:
    """Seconds for an item there and back, between two processes."""

    def answer(there: Any, back: Any) -> None:
        for _ in range(times):
            back.put(there.get())

    def measure() -> float:
        there, back = mp.Queue(), mp.Queue()
        child = mp.Process(target=answer, args=(there, back))
        child.start()
        there.put(0)
        back.get()
        began = time.perf_counter()
        for number in range(times - 1):
            there.put(number)
            if back.get() != number:
                raise AssertionError(f"{mp}: another answer")
        took = time.perf_counter() - began
        child.join()
        return took / (times - 1)

    return measure


def make_and_close(mp: Any, times: int = 200) -> Measure:
    def measure() -> float:
        began = time.perf_counter()
        for _ in range(times):
            mp.Queue().close()
        return (time.perf_counter() - began) / times

    return measure


def honest(measure: Measure) -> Measure:
    """Not a number where a queue of others gives other items than were put, or none."""

    def measured() -> float:
        try:
            return measure()
        except (AssertionError, OSError) as error:
            print(f"    {error}", file=sys.stderr)
            return math.nan

    return measured


def rows() -> list[Row]:
    std, ours = multiprocessing.get_context("fork"), procession.get_context("fork")

    def row(
        work: str,
        bound: float,
        aim: float,
        make: Callable[[Any], Any],
        items: Sequence[Any],
        count: int,
        **how: Any,
    ) -> Row:
        """Ours gets more of the small items, to be measured as long."""
        more = 4 if count > 1000 else 1
        both = [stream(mp, make, items, n, **how) for mp, n in ((std, count), (ours, count * more))]
        return Row(work, *both, bound, aim, peers=others(make, items, count, **how))

    def others(
        make: Callable[[Any], Any], items: Sequence[Any], count: int, **how: Any
    ) -> dict[str, Measure]:
        """The same work on the queues of others, in the standard library's processes."""
        limit = bounds.get(make)
        if limit is None or how.get("take", take_each) is take_and_finish:
            return {}
        return {
            name: honest(
                stream(
                    std, lambda _, peer=peer: peer.make(limit), items, count, **{"put": peer.puts["each"], **how}
                )
            )
            for name, peer in QUEUE_PEERS.items()
            if peer.may_share or how.get("consumers", 1) == 1
        }  # fmt: skip

    numbers = range(1000, 2000)
    unbounded, bounded = (lambda mp: mp.Queue()), (lambda mp: mp.Queue(1000))
    bounds = {unbounded: 0, bounded: 1000}
    made = [
        row("Queue, ints, maxsize 1000, 1 to 1", 12, 18, bounded, numbers, 20_000),
        row("Queue, ints, 1 to 1", 10, 18, unbounded, numbers, 20_000),
        row("Queue, ints, 2 to 2", 10, 15, unbounded, numbers, 20_000, producers=2, consumers=2),
        row("Queue, ints, 8 to 8", 10, 15, unbounded, numbers, 20_000, producers=8, consumers=8),
        row("Queue, 100 bytes, 1 to 1", 12, 18, unbounded, [b"x" * 100], 20_000),
        row("Queue, mixed small types, 1 to 1", 8, 12, unbounded, MIXED, 20_000),
        row("Queue, dicts of ten fields, 1 to 1", 5, 8, unbounded, [TEN_FIELDS], 20_000),
        row("Queue, 1 MB bytes", 8, 15, lambda mp: mp.Queue(8), [bytes(1_000_000)], 200, take=take_and_drop),
        row("Queue, 8 MB arrays", 20, 30, lambda mp: mp.Queue(4), [np.arange(1 << 20)], 30, take=take_and_drop),
        Row("Queue, 8 MB arrays born in the arena",
            stream(std, lambda mp: mp.Queue(4), [np.arange(1 << 20)], 30, take=take_and_drop),
            stream(ours, lambda mp: mp.Queue(4), [born_in_the_arena()], 300, take=take_and_drop), 50, 500),
        row(
            "JoinableQueue, ints, 2 to 3", 8, 12, lambda mp: mp.JoinableQueue(), numbers, 18_000,
            producers=2, consumers=3, take=take_and_finish,
        ),
        row("SimpleQueue, ints, 1 to 1", 8, 14, lambda mp: mp.SimpleQueue(), numbers, 20_000),
    ]  # fmt: skip
    hundreds = stream(ours, unbounded, numbers, 400_000, put=put_hundreds, take=take_hundreds)
    by_hundreds = {
        name: honest(
            stream(
                std, lambda _, peer=peer: peer.make(0), numbers, 100_000,
                put=peer.puts["hundreds"], take=peer.takes["hundreds"],
            )
        )
        for name, peer in QUEUE_PEERS.items()
    }  # fmt: skip
    made.append(
        Row(
            "ints by hundreds, against one by one",
            stream(std, unbounded, numbers, 20_000),
            hundreds,
            20,
            40,
            peers=by_hundreds,
        )
    )
    if "quick-queue" in by_hundreds:
        made.append(
            Row("ints by hundreds, against quick-queue's", by_hundreds["quick-queue"], hundreds, 2, 4)
        )
    made.append(Row("round trip through two Queues", round_trip(std), round_trip(ours), 6, 15))
    made.append(Row("creating and closing a `Queue`", make_and_close(std), make_and_close(ours), 30, 100))
    return made
