"""The queues of the chaos: what workers do with them, and what must hold at the end.

An item carries its size and a sum over its bytes, so a torn one is seen where it arrives. Puts and gets are counted before
and after: at the end the queue's own counts must lie in between. A job of the acknowledged queue is finished or comes
again: at the end it can be emptied, and nobody waits for the dead.
"""

import queue
import random
import zlib
from collections.abc import Callable
from typing import Any

import procession

PASSED = ("puts_begun", "puts_done", "puts_refused", "gets_done")  # what workers count
SIZES = (0, 10, 100, 5000, 30_000, 40_000, 300_000)


def make_item(number: int, size: int) -> Any:
    content = number.to_bytes(8, "little") * (size // 8)
    return number, len(content), zlib.crc32(content), memoryview(content) if number % 3 == 0 else content


def is_whole(item: Any) -> bool:
    number, size, checksum, content = item
    return (
        len(content) == size
        and zlib.crc32(content) == checksum
        and bytes(content[:8])
        in (
            b"",
            number.to_bytes(8, "little"),
        )
    )


class Messages:
    """The queues, shared by all."""

    def __init__(self) -> None:
        self.plain, self.jobs = procession.Queue(40), procession.JoinableQueue(redeliver=True)
        self.kept: list[Any] = []  # of one worker: what it has received lately

    def acts(
        self, chance: random.Random, count: Callable[[str], None], fault: Callable[[str], None]
    ) -> list[Any]:
        """What a worker may do."""
        patience = (0.0, 0.001, 0.003)

        def check(item: Any) -> None:
            if not is_whole(item):
                fault(f"a torn item: {item[:3]}, {len(item[3])} bytes")
            if chance.random() < 0.2:
                self.kept = [*self.kept[-3:], item]

        def put() -> None:
            items = [
                make_item(chance.randrange(1 << 40), chance.choice(SIZES))
                for _ in range(chance.choice((1, 1, 5)))
            ]
            for item in items:
                count("puts_begun")
                try:
                    self.plain.put(item, timeout=chance.choice(patience))
                except queue.Full:
                    count("puts_refused")
                else:
                    count("puts_done")

        def get() -> None:
            try:
                check(self.plain.get(timeout=chance.choice(patience)))
            except queue.Empty:
                return
            count("gets_done")

        def get_many() -> None:
            try:
                items = self.plain.get_many(chance.choice((2, 10)), timeout=chance.choice(patience))
            except queue.Empty:
                return
            for item in items:
                check(item)
                count("gets_done")

        def ask() -> None:
            if self.jobs.qsize() < 60:
                self.jobs.put(make_item(chance.randrange(1 << 40), chance.choice(SIZES)))

        def work() -> None:
            try:
                with self.jobs.taking(timeout=chance.choice(patience)) as item:
                    check(item)
                    if chance.random() < 0.1:
                        raise InterruptedError
            except (queue.Empty, InterruptedError):
                pass

        return [put, get] * 3 + [get_many] + [ask, work] * 2

    def verdict(self, total: Callable[[str], int], kills: int, fail: Callable[[str], None]) -> None:
        """When all workers are gone."""
        now = self.plain.statistics()
        done, begun = total("puts_done"), total("puts_begun") - total("puts_refused")
        if not done <= now.puts <= begun + kills:
            fail(f"puts: {now.puts} counted, {done} done, {begun} begun")
        if not total("gets_done") <= now.gets <= total("gets_done") + 10 * kills:
            fail(f"gets: {now.gets} counted, {total('gets_done')} done")
        if now.depth != now.puts - now.gets:
            fail(f"{now}")
        for q in (self.plain, self.jobs):
            try:
                while True:
                    item = q.get(timeout=0)
                    if not is_whole(item):
                        fail(f"a torn item is left: {item[:3]}")
                    if q is self.jobs:
                        q.task_done()
            except queue.Empty:
                pass
        self.jobs.join()
