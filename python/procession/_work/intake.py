"""What workers have put down: results for jobs, errors, and news of themselves."""

import pickle
from collections.abc import Callable
from time import monotonic
from typing import Any

from procession._work import desk as records
from procession._work import naming, parcel
from procession._work.floor import TERMINATE, Floor
from procession._work.hand import Hand
from procession._work.segments import MASK, Segment

ERRORS: dict[int, Callable[[bytes], Any]] = {
    records.ERROR: pickle.loads,
    records.LARGE_ERROR: parcel.fetch,
    records.CARRIED_ERROR: parcel.receive,
}
"""How a record is read that says what a task raised."""


class Intake:
    """Takes results from desks and gives them to their jobs."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self.failed_starts = 0.0
        """How many workers have died in a row before they were ready."""
        self._largest = 0
        """Bytes that the largest of the results lies in that are being taken."""

    def collect(self, hand: Hand) -> None:
        """Take all the results that a worker has put down."""
        answered, self._largest = hand.ledger.count, 0
        while answers := hand.desk.receive(1024, pickle.loads):
            for number, kind, value in answers:
                if kind == records.VALUES:
                    self._deliver(hand, number, value)
                else:
                    self._take_record(hand, number, kind, value)
        answered -= hand.ledger.count
        if answered > 0:
            now = monotonic()
            if not hand.pace.note(hand.desk.spent):
                hand.pace.learn(now - hand.since, answered)
            hand.pace.weigh_results(self._largest)
            hand.since = now

    @staticmethod
    def discard(hand: Hand) -> None:
        """Free what lies in the arena for results that nobody waits for any more, of a worker that has ended."""
        while answers := hand.desk.receive(1024, bytes):
            for _, kind, value in answers:
                if kind in {records.LARGE, records.LARGE_ERROR}:
                    parcel.drop(value)
                elif kind in {records.CARRIED, records.CARRIED_ERROR}:
                    parcel.drop_carried(value)

    def _deliver(self, hand: Hand, number: int, values: list[Any]) -> None:
        if hand.interruption is not None:
            hand.calm()
        at, end = 0, len(values)
        answer = hand.ledger.answer
        while at < end:
            segment = answer((number + at) & MASK, end - at)
            count = segment.high - segment.low
            segment.job.answered(
                segment.base + segment.low, values if count == end else values[at : at + count]
            )
            at += count

    def _take_record(self, hand: Hand, number: int, kind: int, value: Any) -> None:
        if kind == records.READY:
            hand.is_ready, self.failed_starts = True, 0
        elif kind == records.STACKS:
            hand.stack_fd = int(value)
        elif kind == records.FAILED_TO_START:
            error = pickle.loads(value)
            error.add_note("raised by the pool's initializer: the pool runs no tasks")
            self._floor.broken = error
        elif kind in {records.LARGE, records.CARRIED}:
            try:
                values = [self._fetch(value) if kind == records.LARGE else parcel.receive(value)]
            except Exception as refusal:  # noqa: BLE001  unpickling runs anybody's code
                self._fail(hand, number, refusal, "its result could not be unpickled")
            else:
                self._deliver(hand, number, values)
        elif kind == records.UNREADABLE:
            self._fail(hand, number, value, "its result could not be unpickled")
        elif kind == records.NOT_UNDERSTOOD:
            segment = hand.ledger.answer(number, 1)
            if segment.alone:
                error = pickle.loads(value)
                error.add_note(f"its worker could not unpickle it: {naming.first_of(segment)}")
                segment.job.failed(segment.first, error)
            else:
                segment.alone = True
                self._floor.backlog.appendleft(segment)
        else:
            self._fail(hand, number, _load_error(ERRORS[kind], value))

    def _fetch(self, sent: bytes) -> Any:
        pickled, buffers = parcel.find(sent)
        self._largest = max(self._largest, memoryview(pickled.obj).nbytes)
        return pickle.loads(pickled, buffers=buffers)

    def _fail(self, hand: Hand, number: int, error: BaseException, why: str | None = None) -> None:
        segment = hand.ledger.answer(number, 1)
        if why is not None:
            error.add_note(f"{why}: {naming.first_of(segment)}")
        interruption = hand.calm()
        if interruption is not None and isinstance(error, KeyboardInterrupt):
            interruption.error.__cause__ = error.__cause__
            error = interruption.error
        self.settle(segment, error, died=False)

    def settle(self, segment: Segment, error: BaseException, *, died: bool) -> None:
        """A task has failed: run it again, if that was asked for, or say so."""
        job = segment.job
        if job.may_try_again(segment.first, died) and self._floor.state != TERMINATE:
            self._floor.backlog.appendleft(segment)
        elif died and job.options.on_worker_death == "skip":
            job.answered(segment.first, [None])
        else:
            job.failed(segment.first, error)


def _load_error(load: Callable[[bytes], Any], pickled: bytes) -> BaseException:
    """What a task raised; what unpickling it raised, if it cannot be."""
    try:
        return load(pickled)  # type: ignore[no-any-return]
    except Exception as refusal:  # noqa: BLE001  unpickling runs anybody's code
        return refusal
