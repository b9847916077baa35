"""What all parts of a pool's engine look at: its tasks, its workers, and whether it goes on."""

from collections import deque
from typing import TYPE_CHECKING

from procession._work.hand import Hand
from procession._work.segments import MASK, Segment

if TYPE_CHECKING:
    from procession._wire.main_module import Forked
    from procession._work.jobs import Job

RUN, CLOSE, TERMINATE = "RUN", "CLOSE", "TERMINATE"


class Floor:
    """Callers append to `backlog`, add to `jobs` and set `state`; all else is the collector's."""

    def __init__(self, size: int, chunks: int | None) -> None:
        self.size, self.chunks = size, chunks
        """How many workers there should be, and after how many chunks each is replaced."""
        self.state = RUN
        self.jobs: dict[int, Job] = {}
        self.backlog: deque[Segment] = deque()
        self.hands: dict[int, Hand] = {}
        """By the workers' sentinels."""
        self.memory_limit: int | None = None
        """Bytes that a worker may have; None: any number."""
        self.main: bool | Forked = False
        """What workers find of the main module: what it had before the first one was forked, or what they import."""
        self.broken: BaseException | None = None
        """Why no task will ever run again."""

    def is_done(self) -> bool:
        """Whether nothing is left to do, and nothing more will come."""
        return self.state == CLOSE and not self.jobs and not self.backlog

    def awaits_ends(self) -> bool:
        """Whether all workers have been told to leave, and some have not left."""
        return bool(self.hands) and all(hand.is_retiring for hand in self.hands.values())

    def fail_all(self, error: BaseException) -> None:
        """No task has a result any more but those that have one."""
        self.backlog.clear()
        for job in list(self.jobs.values()):
            job.fail_rest(error)

    def put_back(self, segments: list[Segment]) -> None:
        """Tasks that somebody was to do are the next to be given away."""
        self.backlog.extendleft(reversed(segments))


def take_back(floor: Floor, hand: Hand, count: int) -> list[Segment]:
    """Take up to `count` unbegun tasks from a worker: which they are, at the head of the backlog now."""
    before, now = hand.desk.revoke(count)
    taken = hand.ledger.take_back((before - now) & MASK)
    floor.put_back(taken)
    return taken
