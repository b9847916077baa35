"""Tasks in a row: items of one job that have not been given to anybody, or have been to one worker."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

MASK = 2**32 - 1
"""Tasks of a desk are numbered modulo 2**32."""


class Segment:
    """The tasks `job[base + low]` to `job[base + high - 1]`, whose items are `items[low:high]`."""

    __slots__ = ("alone", "base", "deaf", "high", "items", "job", "low")

    def __init__(
        self, job: Any, base: int, items: Sequence[Any], low: int, high: int, *, alone: bool = False
    ) -> None:
        self.job, self.base, self.items, self.low, self.high = job, base, items, low, high
        self.alone = alone
        """To be sent by itself: together with others it could not be."""
        self.deaf = 0
        """How many workers have lost it because they had not begun it in time."""

    def __len__(self) -> int:
        return self.high - self.low

    def __repr__(self) -> str:
        return f"<Segment {self.base + self.low}..{self.base + self.high} of {self.job!r}>"

    @property
    def first(self) -> int:
        """The place of its first task in its job."""
        return self.base + self.low

    def cut(self, count: int) -> "Segment":
        """Take the first `count` tasks away from it."""
        head = Segment(self.job, self.base, self.items, self.low, self.low + count, alone=self.alone)
        head.deaf = self.deaf
        self.low += count
        return head

    def cut_tail(self, count: int) -> "Segment":
        """Take the last `count` tasks away from it."""
        tail = Segment(self.job, self.base, self.items, self.high - count, self.high, alone=self.alone)
        tail.deaf = self.deaf
        self.high -= count
        return tail

    def content(self) -> Sequence[Any]:
        """The items."""
        if self.low == 0 and self.high == len(self.items):
            return self.items
        return self.items[self.low : self.high]

    def by_chunks(self, size: int) -> Iterator[Sequence[Any]]:
        """The items, in pieces that lie in one chunk each, as the job is divided into chunks of that size."""
        at = self.low
        while at < self.high:
            end = min(self.high, at + size - (self.base + at) % size)
            yield self.items[at:end]
            at = end

    def singles(self) -> list["Segment"]:
        """Its tasks, each to be sent by itself."""
        return [
            Segment(self.job, self.base, self.items, at, at + 1, alone=True)
            for at in range(self.low, self.high)
        ]


def _is_below(number: int, unread: int | None) -> bool:
    return unread is None or 0 < (unread - number) & MASK <= MASK // 2


class Ledger:
    """What one worker has been given and not answered: numbers on its desk, and the tasks that they mean.

    Results come in the order of the numbers. Together with the desk's claims it says of
    every task of a dead worker whether it was lost.
    """

    __slots__ = ("_entries", "count")

    def __init__(self) -> None:
        self._entries: deque[tuple[int, Segment, Any, int]] = deque()
        self.count = 0
        """Tasks given and not answered."""

    def give(self, number: int, segment: Segment, keep: Any = None, message: int | None = None) -> None:
        """The desk has the tasks now, from `number` on, in the message that begins with `message` (this very one).

        `keep` is to live for as long as they are there.
        """
        self._entries.append((number, segment, keep, number if message is None else message))
        self.count += len(segment)

    def has(self, job: Any) -> bool:
        """Whether any of them is a task of that job."""
        return any(segment.job is job for _, segment, _, _ in self._entries)

    def first(self) -> tuple[int, Segment] | None:
        """The next task to be answered: its number, and the segment that begins with it."""
        return self._entries[0][:2] if self._entries else None

    def answer(self, number: int, most: int) -> Segment:
        """The tasks from `number` on, `most` or fewer, have been answered: which they are."""
        first, segment, keep, message = self._entries.popleft()
        if first != number:
            raise LookupError(f"task {number} was answered, and {first} is the next")
        size = segment.high - segment.low
        if size <= most:
            self.count -= size
            return segment
        self._entries.appendleft(((number + most) & MASK, segment, keep, message))
        self.count -= most
        return segment.cut(most)

    def take_back(self, count: int) -> list[Segment]:
        """The last `count` tasks are given to somebody else: which they are, in order."""
        taken: list[Segment] = []
        self.count -= count
        while count:
            number, segment, keep, message = self._entries.pop()
            if len(segment) > count:
                taken.append(segment.cut_tail(count))
                self._entries.append((number, segment, keep, message))
                break
            count -= len(segment)
            taken.append(segment)
        taken.reverse()
        return taken

    def bury(self, begun: int, unread: int | None) -> tuple[list[Segment], list[Segment]]:
        """The worker is dead, having begun the tasks below `begun`: the lost ones, and those nobody has begun.

        `unread`: the first task of the messages that it has not taken; None: it has taken all. Of the one that it has
        taken and begun nothing of it may have died: its tasks are to be sent by themselves, and one that was is lost.
        """
        lost: list[Segment] = []
        others: list[Segment] = []
        opened = self._being_opened(begun, unread)
        if opened == 1:
            begun = (self._entries[0][0] + 1) & MASK
        for number, segment, _, _ in self._entries:
            touched = (begun - number) & MASK
            if 0 < touched <= len(segment):
                lost.append(segment.cut(touched))
            elif touched > len(segment) and touched <= MASK // 2:
                lost.append(segment.cut(len(segment)))
            if len(segment):
                is_suspect = opened > 1 and _is_below(number, unread)
                others += segment.singles() if is_suspect else [segment]
        self._entries.clear()
        self.count = 0
        return lost, others

    def _being_opened(self, begun: int, unread: int | None) -> int:
        """How many tasks have been taken with a message of which none has begun."""
        if not self._entries:
            return 0
        number, _, _, message = self._entries[0]
        if number != message or _is_below(number, begun):
            return 0
        return sum(len(segment) for number, segment, _, _ in self._entries if _is_below(number, unread))
