"""What workers may not exceed: a task's time, its memory, and patience with one who is stopped."""

from time import monotonic
from typing import TYPE_CHECKING

from procession._base.errors import TaskTimeoutError
from procession._work import naming, post_mortem
from procession._work.floor import Floor, take_back
from procession._work.hand import GRACE, OFTEN, Hand

if TYPE_CHECKING:
    from procession._work.options import Options

FAR_TOO_MUCH = 1.25
"""How many times the memory that it may have costs a worker its life in the middle of a task."""


class Limits:
    """Interrupts what takes too long, kills what does not heed it, and replaces who has too much memory."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor

    def look(self) -> float | None:
        """See to it; when to look again, None when nobody needs it."""
        wake_at = None
        for hand in self._floor.hands.values():
            at = self._look_after(hand)
            if at is not None:
                wake_at = at if wake_at is None else min(wake_at, at)
        return wake_at

    def _look_after(self, hand: Hand) -> float | None:
        if hand.is_retiring:
            hand.retire()
        if hand.interruption is not None:
            return hand.insist(monotonic())
        entry, timeout, at = hand.ledger.first(), None, None
        if entry is not None:
            options: Options = entry[1].job.options
            timeout = options.timeout
            hand.memory_limit = options.memory_limit or self._floor.memory_limit
        if hand.memory_limit is not None:
            at = self._look_after_memory(hand, hand.memory_limit, monotonic())
        if entry is None or timeout is None:
            return at
        now = monotonic()
        if hand.running() != entry[0]:
            return self._look_after_idler(hand, timeout, now)
        due = hand.began(entry[0], now) + timeout
        if now < due:
            return due if at is None else min(at, due)
        late_one = naming.first_of(entry[1])
        hand.interrupt(entry[0], TaskTimeoutError(f"{late_one}, took longer than {timeout} s"))
        return now + GRACE

    def _look_after_idler(self, hand: Hand, timeout: float, now: float) -> float:
        """A worker that does not begin what it was given is slow; one that somebody has stopped never will."""
        if hand.has_been_stopped(now) > timeout:
            take_back(self._floor, hand, hand.unbegun())
            if not hand.ledger.count:  # it has begun none of them: nothing is lost with it
                hand.kill()
        return now + min(timeout, OFTEN)

    def _look_after_memory(self, hand: Hand, limit: int, now: float) -> float | None:
        """Replace a worker that has more memory than it may: when its task is done, or now if it has far too much."""
        if not hand.ledger.count and hand.measured_at > hand.since:
            return None
        if now < hand.measured_at + OFTEN:
            return hand.measured_at + OFTEN
        hand.measured_at = now
        used = post_mortem.resident(hand.process.pid)
        if used > limit * FAR_TOO_MUCH and hand.running() is not None:
            hand.killed_for = f"the pool killed it: it had {used:,} bytes of memory, of {limit:,} allowed"
            hand.kill()
        elif (
            used > limit and hand.desk.claims()[0]
        ):  # another one that has done nothing yet would have as much
            take_back(self._floor, hand, hand.unbegun())
            hand.retire()
        return now + OFTEN
