"""Other queues, as far as they are installed (requirements/peers.txt): each with the calls that rows make of a queue.

A row asks only for what a queue has a call for: the cell is empty where it has none.
"""

import contextlib
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

ROOM: Final = 64 << 20  # bytes of a queue that is bounded by them: what the largest row has on its way

Put = Callable[[Any, Sequence[Any]], None]
Take = Callable[[Any, int], list[Any]]


@dataclass(frozen=True)
class Peer:
    """How a queue is made, and the ways of putting and taking that it has by name."""

    make: Callable[[int], Any]  # of a bound, 0 for none
    puts: dict[str, Put]
    takes: dict[str, Take]
    may_share: bool = True
    """Whether several consumers can each take a share: not where one takes a bucket of items and keeps the rest."""


def put_each(q: Any, items: Sequence[Any]) -> None:
    put = q.put
    for item in items:
        put(item)


def take_each(q: Any, count: int) -> list[Any]:
    get = q.get
    return [get() for _ in range(count)]


def put_hundreds(q: Any, items: Sequence[Any]) -> None:
    for at in range(0, len(items), 100):
        q.put_many(items[at : at + 100])


def take_hundreds(q: Any, count: int) -> list[Any]:
    taken: list[Any] = []
    while len(taken) < count:
        taken += q.get_many(100)
    return taken


def take_hundreds_by_name(q: Any, count: int) -> list[Any]:
    taken: list[Any] = []
    while len(taken) < count:
        taken += q.get_many(max_messages_to_get=100)
    return taken


def put_buckets(q: Any, items: Sequence[Any]) -> None:
    """Its buckets are of a hundred; the last one may not be full."""
    q.put_iterable(items)
    q.put_remain()


def put_into_buckets(q: Any, items: Sequence[Any]) -> None:
    put_each(q, items)
    q.put_remain()


def _peers() -> dict[str, Peer]:
    found = {}
    with contextlib.suppress(ImportError):
        fifo = importlib.import_module("faster_fifo")
        found["faster-fifo"] = Peer(
            lambda bound: fifo.Queue(ROOM, bound or 1_000_000_000),
            {"each": put_each, "hundreds": put_hundreds},
            {"each": take_each, "hundreds": take_hundreds_by_name},
        )
    with contextlib.suppress(ImportError):
        quick = importlib.import_module("quick_queue")
        found["quick-queue"] = Peer(
            lambda bound: quick.QQueue(max(bound // 100, 0), size_bucket_list=100),
            {"each": put_into_buckets, "hundreds": put_buckets},
            {"each": take_each, "hundreds": take_each},
            may_share=False,
        )
    return found


QUEUE_PEERS: Final = _peers()
