"""Who gets which task: by how many each has, and what each has shown to be able to do."""

import pickle
from collections.abc import Sequence
from functools import partial
from time import monotonic
from types import FunctionType
from typing import Any

from procession import _native
from procession._base.errors import TaskCancelledError
from procession._wire.main_module import may_be_unknown
from procession._work import pace, parcel, worker
from procession._work.common import Common
from procession._work.desk import LARGEST
from procession._work.floor import Floor, take_back
from procession._work.hand import Hand
from procession._work.jobs import Job, MapResult
from procession._work.segments import MASK, Segment

WATCHFUL = 0.002
"""Seconds after which a task that keeps others from beginning is left alone with its worker."""
DEAF = 0.05
"""Seconds after which a worker that has begun nothing of what it was given loses it to one with nothing to do.
Twice as many for the next one, and so on: it may be unpickling that takes so long."""
MOST_DEAF = 10
"""How often that doubles."""
WORTH_STEALING = 0.0003
"""Seconds of work that are worth giving to somebody else."""

FUNCTIONS = frozenset([FunctionType, type])


class Dispatch:
    """Gives the backlog's tasks to hands, and takes them back for others."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor

    def feed(self) -> None:
        """Give tasks to whoever should have some."""
        hands = [hand for hand in self._floor.hands.values() if not hand.is_retiring]
        while self._floor.backlog and hands:
            hands.sort(key=lambda hand: (hand.ledger.count, not hand.is_ready))
            hands = [hand for hand in hands if self._floor.backlog and self._give(hand, len(hands))]
        if not self._floor.backlog and self._floor.chunks is None:
            self._steal()

    def _give(self, hand: Hand, workers: int) -> bool:
        """Give a hand its portion; false when it needs none, or can take none."""
        try:
            waiting = len(self._floor.backlog[0]) + len(self._floor.backlog) - 1
        except IndexError:
            return False
        ahead = hand.pace.ahead() if self._floor.chunks is None else 1
        share = min(pace.portion(ahead, hand.ledger.count, waiting, workers), hand.pace.together())
        if not share:
            return False
        segments = self._gather(share)
        if not segments:
            return True
        if self.send(hand, segments):
            return True
        self._floor.put_back(segments)
        return False

    def _gather(self, share: int) -> list[Segment]:
        """Take tasks that can go in one message from the head of the backlog."""
        gathered: list[Segment] = []
        backlog, by_chunks = self._floor.backlog, self._floor.chunks is not None
        while share > 0 and backlog:
            segment = backlog[0]
            job = segment.job
            if gathered:
                head = gathered[0]
                is_alike = job is head.job or (job.kind == head.job.kind == worker.CALLS)
                if not is_alike or segment.alone or head.alone or by_chunks:
                    break
            backlog.popleft()
            size = segment.high - segment.low
            if job.cancelled is not None:
                job.failed(segment.first, job.cancelled, size)
                continue
            most = 1 if segment.alone else job.chunk if by_chunks else share
            if size > most:
                piece = segment.cut(most)
                backlog.appendleft(segment)
                segment, size = piece, most
            if not job.begins(segment.base + segment.low):
                continue
            gathered.append(segment)
            share -= size
        return gathered

    def send(self, hand: Hand, segments: list[Segment]) -> bool:
        """Put tasks on a desk; false when there is no room. Tasks that cannot be pickled are dealt with."""
        job = segments[0].job
        items = segments[0].content()
        if len(segments) > 1:
            items = [item for segment in segments for item in segment.items[segment.low : segment.high]]
        began = monotonic()
        try:
            if job.common is None and isinstance(job, MapResult):
                job.common = Common(segments[0].items)
            if job.prepared is not None and len(segments) == 1:
                message, keep = job.prepared
            else:
                message, keep = self._prepare(hand.nonce, job, items, segments)
        except Exception as refusal:  # noqa: BLE001  pickling runs anybody's code
            self._refuse(segments, refusal)
            return True
        number = hand.desk.post(len(items), message)
        if number is None:
            return False
        hand.pace.weigh_given(keep[0][0].nbytes if keep is not None and keep[0] else 0, len(items))
        now = monotonic()
        if not hand.ledger.count:
            hand.since, hand.packing = now, 0.0
        hand.packing = max(hand.packing, now - began)
        first = number
        for segment in segments:
            hand.ledger.give(number, segment, keep, first)
            number = (number + segment.high - segment.low) & MASK
        if hand.chunks is not None:
            hand.chunks -= 1
            if hand.chunks == 0:
                hand.retire()
        return True

    def prepare(self, segment: Segment) -> bytes | None:
        """The message with a job's only task, made by its caller; None: pickle refuses, as it will tell the collector."""
        job = segment.job
        if _are_plain(segment.items, job.kind):  # the usual case, without detours
            try:
                pickled = pickle.dumps(
                    (job.kind, None, segment.items, False, job.chunk), pickle.HIGHEST_PROTOCOL
                )
            except Exception:  # noqa: BLE001  a function may be found nowhere
                return None
            if len(pickled) <= LARGEST and not may_be_unknown(pickled, self._floor.main):
                job.prepared = b"\0" + pickled, None
                return job.prepared[0]  # type: ignore[no-any-return]
        for hand in self._floor.hands.values():
            try:
                job.prepared = self._prepare(hand.nonce, job, segment.items, [segment])
            except Exception:  # noqa: BLE001  pickling runs anybody's code
                return None
            return job.prepared[0]  # type: ignore[no-any-return]
        return None

    def _prepare(
        self, nonce: bytes, job: Job, items: Sequence[Any], segments: list[Segment]
    ) -> tuple[bytes, Any]:
        """A message, and what is to live for as long as its tasks: shared objects among the arguments, for one, until
        the worker, who has them by then, has answered.
        """
        (message, memories), enclosed = _native.gather(
            lambda segments: self._message(nonce, job, items, segments), segments, nonce, parcel.MANY
        )
        return message, ((memories, enclosed) if memories or enclosed else None)

    def _message(
        self, nonce: bytes, job: Job, items: Any, segments: list[Segment]
    ) -> tuple[bytes, list[_native.Memory]]:
        function = None
        if job.kind != worker.CALLS:
            if job._pickled is None:
                job._pickled, job._enclosed = _native.gather(
                    partial(parcel.function_by_name, finds_main=self._floor.main),
                    job.function,
                    nonce,
                    parcel.MANY,
                )
            function = job._pickled
        is_timed = any(segment.job.options.timeout is not None for segment in segments)
        is_plain = _are_plain(items, job.kind)
        if len(items) > job.chunk and not is_plain:
            packed = self._pack_apart(job, segments, function, is_timed)
        else:
            given = items if isinstance(items, (list, tuple, range)) else list(items)
            task = job.kind, function, given, is_timed, job.chunk
            packed = self._pack(task, job, is_plain=is_plain, may_refuse=len(items) > 1)
        if packed.is_small():
            return b"\0" + packed.pickled, []
        sent, memories = parcel.store(packed)
        return b"\1" + sent, memories

    def _pack(self, obj: object, job: Job, *, is_plain: bool = False, may_refuse: bool) -> parcel.Parcel:
        """Pickle what goes to a worker, by value if need be; raises what pickle raises if it may.

        What is plain has no reducers to look for, and no buffers.
        """
        main = self._floor.main
        try:
            packed = (
                parcel.Parcel(pickle.dumps(obj, pickle.HIGHEST_PROTOCOL), [])
                if is_plain
                else parcel.pack(obj, job.common)
            )
        except Exception as refusal:
            if may_refuse:
                raise
            return parcel.pack_by_value(obj, refusal, main)
        return parcel.pack_by_value(obj, None, main) if may_be_unknown(packed.pickled, main) else packed

    def _pack_apart(
        self, job: Job, segments: list[Segment], function: bytes | None, is_timed: bool
    ) -> parcel.Parcel:
        """A pickle for each chunk of items: what several of them refer to is several things to the worker, as to the
        standard library's.
        """
        groups = [
            self._pack(group, job, may_refuse=True)
            for segment in segments
            for group in segment.by_chunks(job.chunk)
        ]
        task = (job.kind + worker.APART, function, [group.pickled for group in groups], is_timed, job.chunk)
        buffers = [buffer for group in groups for buffer in group.buffers]
        return parcel.Parcel(pickle.dumps(task, pickle.HIGHEST_PROTOCOL), buffers)

    def _refuse(self, segments: list[Segment], refusal: Exception) -> None:
        """Tasks cannot be pickled together: find out which of them cannot be."""
        for segment in reversed(segments):
            if len(segment) == len(segments) == 1:
                segment.job.failed(segment.first, refusal)
            elif segment.job.kind != worker.CALLS and segment.job._pickled is None:
                segment.job.failed(segment.first, refusal, len(segment))
            else:
                self._floor.put_back(segment.singles())

    def _steal(self) -> None:
        """Give unbegun tasks of a busy worker to one that has nothing to do."""
        idle = [hand for hand in self._floor.hands.values() if hand.is_idle and hand.is_ready]
        if not idle:
            return
        victims = [(hand.unbegun(), hand) for hand in self._floor.hands.values() if hand.ledger.count]
        if not victims:
            return
        unbegun, victim = max(victims, key=lambda pair: pair[0])
        if not unbegun:
            return
        is_deaf = unbegun == victim.ledger.count
        patience = self._patience(victim) if is_deaf else WATCHFUL
        is_stuck = monotonic() - victim.since > patience
        if not is_stuck and unbegun * (victim.pace.seconds or 0.0) <= WORTH_STEALING:
            return
        half = (unbegun if is_deaf else unbegun + 1) // 2  # one at least is left to who is about to begin it
        if taken := take_back(self._floor, victim, unbegun if is_stuck else half):
            if is_stuck:
                if is_deaf:
                    for segment in taken:
                        segment.deaf += 1
                victim.pace.learn(monotonic() - victim.since, 1)
            for hand in idle:
                hand.pace.learn(victim.pace.seconds or 0.0, 1)
                if self._floor.backlog:
                    self._give(hand, len(idle))

    def _patience(self, hand: Hand) -> float:
        """Seconds that a worker has to begin: what was long to pickle is long to unpickle."""
        entry = hand.ledger.first()
        deaf = 0 if entry is None else entry[1].deaf
        return (DEAF + 10 * hand.packing) * 2.0 ** min(deaf, MOST_DEAF)

    def cancel(self, job: Job) -> None:
        job.cancelled = TaskCancelledError("the task was cancelled")
        for hand in self._floor.hands.values():
            entry = hand.ledger.first()
            if entry is not None and entry[1].job is job and hand.running() == entry[0]:
                hand.interrupt(entry[0], job.cancelled)
                return
        for hand in self._floor.hands.values():
            take_back(self._floor, hand, hand.unbegun())
        for segment in list(self._floor.backlog):
            if segment.job is job:
                self._floor.backlog.remove(segment)
                job.failed(segment.first, job.cancelled, len(segment))


def _are_plain(items: Sequence[Any], kind: int) -> bool:
    """Whether tasks cannot tell if others have the same objects: nothing that they are given can be changed."""
    if isinstance(items, range):
        return True
    if kind == worker.ITEMS:
        return worker.PLAIN.issuperset(map(type, items))
    if kind == worker.STARRED:
        return all(type(item) is tuple and worker.PLAIN.issuperset(map(type, item)) for item in items)
    return all(
        type(function) in FUNCTIONS and not kwds and worker.PLAIN.issuperset(map(type, args))
        for function, args, kwds in items
    )
