"""The engine of a pool: one thread that gives tasks to workers, takes their results, and replaces the dead.

    callers --- backlog (a deque) --->  collector  --- desk: ring of tasks ---->  worker
            <-- jobs (results) -------  (a thread) <-- desk: ring of results ---  worker
                                            ^------------- bell, pidfds ------------'

A turn: take all results; bury the dead; give tasks; look after time limits; sleep until the bell
rings, somebody dies, or a time comes. Only the collector touches hands and ledgers, so there is nothing
to lock: callers append to the backlog and ring.

A worker has as many tasks before it as it does in some milliseconds. That one gets what
another could do sooner costs nothing: a hand without work takes unbegun tasks back from
who has most. A task is begun or taken back, never both, by one word (`claims.rs`); its result
is committed before the next is begun. So what is lost with a worker is what it was at.
"""

import os
import pickle
import select
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing import util
from time import monotonic, monotonic_ns
from typing import Any

from procession._base import log
from procession._base.errors import (
    PoolTerminatedError,
    TaskCancelledError,
    TaskTimeoutError,
    WorkerDiedError,
)
from procession._work import desk as records
from procession._work import pace, parcel, post_mortem, worker
from procession._work.desk import Bell
from procession._work.hand import Hand
from procession._work.jobs import Job
from procession._work.segments import MASK, Segment

RUN, CLOSE, TERMINATE = "RUN", "CLOSE", "TERMINATE"

PATIENCE = 5.0
"""Seconds that a worker has to end after SIGTERM, before it is killed."""
GRACE = 1.0
"""Seconds that a task has to end after SIGINT, before its worker is killed."""
NAP = 0.004
"""Longest sleep in which results are not waited for, in seconds: all workers have enough to do."""
WATCHFUL = 0.002
"""Seconds after which a task that keeps others from beginning is left alone with its worker."""
WORTH_STEALING = 0.0003
"""Seconds of work that are worth giving to somebody else."""
FAILED_STARTS = 3
"""How many workers in a row, for each of the pool's, may die before they are ready."""

AWAKE, IDLE, ANY = 0, 1, 2


class Engine:
    """Workers, tasks and results of one pool."""

    died: type[WorkerDiedError] = WorkerDiedError

    def __init__(
        self,
        make_process: Callable[..., Any],
        size: int,
        initializer: Callable[..., object] | None,
        initargs: Iterable[Any],
        chunks: int | None,
    ) -> None:
        self._make_process, self.size, self._chunks = make_process, size, chunks
        self._initializer, self._initargs = initializer, initargs
        self.state = RUN
        self.jobs: dict[int, Job] = {}
        self.processes: list[Any] = []
        self.backlog: deque[Segment] = deque()
        self._hands: dict[int, Hand] = {}
        self._requests: deque[Callable[[], None]] = deque()
        self._bell, self._poll = Bell(), select.poll()
        self._poll.register(self._bell.fileno(), select.POLLIN)
        self._is_asleep = False
        self._failed_starts = 0
        self.broken: BaseException | None = None
        self._oom_kills = post_mortem.oom_kills()
        self.pid = os.getpid()
        self._has_ended = False
        self.thread = threading.Thread(target=self.run, name="procession-collector", daemon=True)

    # ---- the callers' side ----

    def start(self) -> None:
        """Start the workers, and the collector. What fails leaves nothing behind."""
        try:
            hands = [self._hire() for _ in range(self.size)]
            for hand in hands:
                self._watch(hand)
            self.thread.start()
        except BaseException:
            for process in self.processes:
                process.terminate()
            for process in self.processes:
                process.join()
            self._bell.close()
            raise

    def submit(self, segment: Segment) -> None:
        """Have tasks run."""
        self.backlog.append(segment)
        if self._is_asleep:
            self.rouse()
        elif self._has_ended:
            self._fail_all(self._reason())

    def rouse(self) -> None:
        """Wake the collector, if it sleeps."""
        if self._is_asleep:
            self._is_asleep = False
            self._bell.ring()

    def close(self) -> None:
        """Take no more tasks; end when all are done."""
        if self.state == RUN:
            self.state = CLOSE
            self.rouse()

    def terminate(self) -> None:
        """End now. Returns when nothing is left, unless a callback calls it."""
        self.state = TERMINATE
        if self.pid == os.getpid():
            self.rouse()
            if threading.current_thread() is not self.thread and self.thread.ident is not None:
                self.thread.join()

    def cancel(self, job: Job) -> None:
        """End a job's only task, wherever it is."""
        self._requests.append(lambda: self._cancel(job))
        self.rouse()

    # ---- the collector ----

    def run(self) -> None:
        """Turn after turn, until the pool is at its end."""
        try:
            while not self._is_over():
                self._turn()
        except BaseException as error:  # noqa: BLE001  nobody waits for ever for a collector that is gone
            log.error("a pool's collector failed", error)
            self.broken = error
        finally:
            self._end()

    def _is_over(self) -> bool:
        if self.state == CLOSE and not self.jobs and not self.backlog:
            for hand in self._hands.values():
                hand.retire()
            return not self._hands
        return self.state == TERMINATE

    def _turn(self) -> None:
        for hand in list(self._hands.values()):
            if hand.desk.has_results():
                self._collect(hand)
        while self._requests:
            self._requests.popleft()()
        if self.broken is not None:
            self._fail_all(self.broken)
        else:
            self._feed()
        wake_at = self._look_after_time()
        if self.state != TERMINATE:
            self._sleep(wake_at)

    def _sleep(self, wake_at: float | None) -> None:
        level, longest = self._depth_of_sleep()
        self._is_asleep = True
        try:
            for hand in self._hands.values():
                if not hand.desk.watch(level):
                    longest = 0
            if self.state == TERMINATE or self._requests or (self.backlog and self._can_give()):
                longest = 0
            if self.state == CLOSE and not self.jobs and not self.backlog and not self._awaits_ends():
                longest = 0
            if wake_at is not None:
                left = max(0.0, wake_at - monotonic())
                longest = left if longest is None else min(longest, left)
            events = self._poll.poll(None if longest is None else int(longest * 1000 + 0.999))
        finally:
            self._is_asleep = False
        for hand in self._hands.values():
            hand.desk.watch(AWAKE)
        for fd, _ in events:
            if fd == self._bell.fileno():
                self._bell.silence()
            elif fd in self._hands:
                self._bury(fd)

    def _awaits_ends(self) -> bool:
        """Whether all workers have been told to leave, and some have not left."""
        return bool(self._hands) and all(hand.is_retiring for hand in self._hands.values())

    def _can_give(self) -> bool:
        return any(hand.is_idle for hand in self._hands.values()) or self.broken is not None

    def _depth_of_sleep(self) -> tuple[int, float | None]:
        """What to be woken for, and after how long at the latest."""
        least = None
        is_somebody_idle = is_somebody_stuck = False
        for hand in self._hands.values():
            tasks = hand.ledger.count
            if not tasks:
                is_somebody_idle = True
            else:
                ahead = (tasks - 1) * (hand.pace.seconds or 0.0)
                least = ahead if least is None else min(least, ahead)
                is_somebody_stuck = is_somebody_stuck or (tasks > 1 and hand.unbegun() > 0)
        if least is None:
            return ANY, None
        if is_somebody_idle and is_somebody_stuck:
            return ANY, WATCHFUL
        if is_somebody_idle or least < NAP / 4:
            return ANY, None
        return IDLE, min(NAP, least / 2)

    # ---- results ----

    def _collect(self, hand: Hand) -> None:
        """Take all the results that a worker has put down."""
        answered = hand.ledger.count
        while answers := hand.desk.receive(1024, pickle.loads):
            for number, kind, value in answers:
                if kind == records.VALUES:
                    self._deliver(hand, number, value)
                else:
                    self._take_record(hand, number, kind, value)
        answered -= hand.ledger.count
        if answered > 0:
            now = monotonic()
            hand.pace.learn(now - hand.since, answered)
            hand.since = now

    def _deliver(self, hand: Hand, number: int, values: list[Any]) -> None:
        if hand.interruption is not None:
            hand.calm()
        at, end = 0, len(values)
        while at < end:
            segment = hand.ledger.answer((number + at) & MASK, end - at)
            count = len(segment)
            segment.job.answered(segment.first, values if count == end else values[at : at + count])
            at += count

    def _take_record(self, hand: Hand, number: int, kind: int, value: Any) -> None:
        if kind == records.READY:
            hand.is_ready, self._failed_starts = True, 0
        elif kind == records.FAILED_TO_START:
            error = pickle.loads(value)
            error.add_note("raised by the pool's initializer: the pool runs no tasks")
            self.broken = error
        elif kind == records.LARGE:
            try:
                values = [parcel.fetch(value)]
            except Exception as refusal:  # noqa: BLE001  unpickling runs anybody's code
                self._fail(hand, number, refusal)
            else:
                self._deliver(hand, number, values)
        elif kind == records.UNREADABLE:
            self._fail(hand, number, value)
        elif kind == records.NOT_UNDERSTOOD:
            segment = hand.ledger.answer(number, 1)
            if segment.alone:
                segment.job.failed(segment.first, pickle.loads(value))
            else:
                segment.alone = True
                self.backlog.appendleft(segment)
        else:
            load = parcel.fetch if kind == records.LARGE_ERROR else pickle.loads
            self._fail(hand, number, _load_error(load, value))

    def _fail(self, hand: Hand, number: int, error: BaseException) -> None:
        segment = hand.ledger.answer(number, 1)
        interruption = hand.calm()
        if interruption is not None and isinstance(error, KeyboardInterrupt):
            interruption.error.__cause__ = error.__cause__
            error = interruption.error
        self._settle(segment, error, died=False)

    def _settle(self, segment: Segment, error: BaseException, *, died: bool) -> None:
        """A task has failed: run it again, if that was asked for, or say so."""
        job = segment.job
        if job.may_try_again(segment.first, died) and self.state != TERMINATE:
            self.backlog.appendleft(segment)
        elif died and job.options.on_worker_death == "skip":
            job.answered(segment.first, [None])
        else:
            job.failed(segment.first, error)

    # ---- workers ----

    def _hire(self) -> Hand:
        hand = Hand(self._chunks)
        hand.process = process = self._make_process(
            target=worker.work, args=(hand.desk, self._bell, self._initializer, self._initargs)
        )
        process.name = process.name.replace("Process", "PoolWorker")
        process.daemon = True
        process.start()
        self.processes.append(process)
        util.debug("added worker")
        return hand

    def _watch(self, hand: Hand) -> None:
        self._hands[hand.process.sentinel] = hand
        self._poll.register(hand.process.sentinel, select.POLLIN)

    def _bury(self, sentinel: int) -> None:
        """A worker has ended: its results count, what it was at is lost, the rest is for others."""
        hand = self._hands[sentinel]
        process = hand.process
        process.join()
        del self._hands[sentinel]
        self._poll.unregister(sentinel)
        if hand.desk.has_results():
            self._collect(hand)
        lost, others = hand.ledger.bury(hand.desk.claims()[0])
        hand.desk.settle()
        self.backlog.extendleft(reversed(others))
        for segment in lost:
            self._lose(hand, segment)
        util.debug(f"worker {process.pid} ended with exit code {process.exitcode}")
        self._replace(hand)

    def _lose(self, hand: Hand, segment: Segment) -> None:
        exitcode = hand.process.exitcode
        interruption = hand.calm()
        if interruption is not None:
            self._settle(segment, interruption.error, died=False)
            return
        kills = post_mortem.oom_kills()
        error = self.died(
            segment.first,
            post_mortem.describe(segment.job, segment.items[segment.low]),
            hand.process.pid,
            exitcode,
            oom=post_mortem.was_oom(exitcode, self._oom_kills, kills),
            peak_memory=getattr(hand.process._popen, "peak_memory", None),
        )
        self._oom_kills = kills
        self._settle(segment, error, died=True)

    def _replace(self, hand: Hand) -> None:
        if not hand.is_ready and self.broken is None:
            self._failed_starts += 1
            if self._failed_starts >= FAILED_STARTS * self.size:
                process = hand.process
                self.broken = self.died(0, "", process.pid, process.exitcode)
                self.broken.add_note("workers die before they are ready: the pool runs no tasks")
        is_needed = self.state == RUN or (self.state == CLOSE and (self.jobs or self.backlog))
        if not is_needed or self.broken is not None or len(self._hands) >= self.size:
            return
        with suppress(ValueError):  # unless it is the last: who looks for the pool's workers finds them
            self.processes.remove(hand.process)
        try:
            self._watch(self._hire())
        except Exception as error:  # noqa: BLE001  whatever keeps a process from starting
            if not self._hands:
                self.broken = error
            log.error("a pool could not replace a worker", error)

    # ---- tasks ----

    def _feed(self) -> None:
        """Give tasks to whoever should have some."""
        hands = [hand for hand in self._hands.values() if not hand.is_retiring]
        while self.backlog and hands:
            hands.sort(key=lambda hand: (hand.ledger.count, not hand.is_ready))
            hands = [hand for hand in hands if self.backlog and self._give(hand, len(hands))]
        if not self.backlog and self._chunks is None:
            self._steal()

    def _give(self, hand: Hand, workers: int) -> bool:
        """Give a hand its portion; false when it needs none, or can take none."""
        try:
            waiting = len(self.backlog[0]) + len(self.backlog) - 1
        except IndexError:
            return False
        ahead = hand.pace.ahead() if self._chunks is None else 1
        share = pace.portion(ahead, hand.ledger.count, waiting, workers)
        if not share:
            return False
        segments = self._gather(share)
        if not segments:
            return True
        if self._send(hand, segments):
            return True
        self.backlog.extendleft(reversed(segments))
        return False

    def _gather(self, share: int) -> list[Segment]:
        """Take tasks that can go in one message from the head of the backlog."""
        gathered: list[Segment] = []
        while share > 0 and self.backlog:
            segment = self.backlog[0]
            job = segment.job
            if gathered:
                head = gathered[0]
                is_alike = job is head.job or (job.kind == head.job.kind == worker.CALLS)
                if not is_alike or segment.alone or head.alone or self._chunks is not None:
                    break
            self.backlog.popleft()
            if job.cancelled is not None:
                job.failed(segment.first, job.cancelled, len(segment))
                continue
            most = 1 if segment.alone else share if self._chunks is None else job.chunk
            if len(segment) > most:
                piece = segment.cut(most)
                self.backlog.appendleft(segment)
                segment = piece
            if not job.begins(segment.first):
                continue
            gathered.append(segment)
            share -= len(segment)
        return gathered

    def _send(self, hand: Hand, segments: list[Segment]) -> bool:
        """Put tasks on a desk; false when there is no room. Tasks that cannot be pickled are dealt with."""
        job = segments[0].job
        items = segments[0].content()
        if len(segments) > 1:
            items = [item for segment in segments for item in segment.content()]
        try:
            message, keep = self._message(job, items)
        except Exception as refusal:  # noqa: BLE001  pickling runs anybody's code
            self._refuse(segments, refusal)
            return True
        number = hand.desk.post(len(items), message)
        if number is None:
            return False
        if not hand.ledger.count:
            hand.since = monotonic()
        for segment in segments:
            hand.ledger.give(number, segment, keep)
            number = (number + len(segment)) & MASK
        if hand.chunks is not None:
            hand.chunks -= 1
            if hand.chunks == 0:
                hand.retire()
        return True

    def _message(self, job: Job, items: Any) -> tuple[bytes, Any]:
        function = None
        if job.kind != worker.CALLS:
            if job._pickled is None:
                job._pickled = parcel.function_by_name(job.function)
            function = job._pickled
        is_timed = job.options.timeout is not None
        task = (job.kind, function, items if isinstance(items, (list, tuple)) else list(items), is_timed)
        try:
            packed = parcel.pack(task)
        except Exception as refusal:
            if len(items) > 1:
                raise
            packed = parcel.pack_by_value(task, refusal)
        if packed.is_small():
            return b"\0" + packed.pickled, None
        sent, memory = parcel.store(packed)
        return b"\1" + sent, memory

    def _refuse(self, segments: list[Segment], refusal: Exception) -> None:
        """Tasks cannot be pickled together: find out which of them cannot be."""
        for segment in reversed(segments):
            if len(segment) == len(segments) == 1:
                segment.job.failed(segment.first, refusal)
            elif segment.job.kind != worker.CALLS and segment.job._pickled is None:
                segment.job.failed(segment.first, refusal, len(segment))
            else:
                self.backlog.extendleft(reversed(segment.singles()))

    def _steal(self) -> None:
        """Give unbegun tasks of a busy worker to one that has nothing to do."""
        idle = [hand for hand in self._hands.values() if hand.is_idle and hand.is_ready]
        if not idle:
            return
        victims = [(hand.unbegun(), hand) for hand in self._hands.values() if hand.ledger.count > 1]
        if not victims:
            return
        unbegun, victim = max(victims, key=lambda pair: pair[0])
        is_stuck = monotonic() - victim.since > WATCHFUL
        if not unbegun or not (is_stuck or unbegun * (victim.pace.seconds or 0.0) > WORTH_STEALING):
            return
        if self._take_back(victim, unbegun if is_stuck else -(-unbegun // 2)):
            if is_stuck:
                victim.pace.learn(monotonic() - victim.since, 1)
            for hand in idle:
                hand.pace.learn(victim.pace.seconds or 0.0, 1)
                if self.backlog:
                    self._give(hand, len(idle))

    def _take_back(self, hand: Hand, count: int) -> int:
        before, now = hand.desk.revoke(count)
        taken = (before - now) & MASK
        if taken:
            self.backlog.extendleft(reversed(hand.ledger.take_back(taken)))
        return taken

    def _cancel(self, job: Job) -> None:
        job.cancelled = TaskCancelledError("the task was cancelled")
        for hand in self._hands.values():
            entry = hand.ledger.first()
            if entry is not None and entry[1].job is job and hand.running() == entry[0]:
                hand.interrupt(entry[0], job.cancelled, GRACE)
                return
        for hand in self._hands.values():
            self._take_back(hand, hand.unbegun())
        for segment in list(self.backlog):
            if segment.job is job:
                self.backlog.remove(segment)
                job.failed(segment.first, job.cancelled, len(segment))

    # ---- time ----

    def _look_after_time(self) -> float | None:
        """Interrupt what takes too long, kill what does not heed it; when to look again."""
        wake_at = None
        for hand in self._hands.values():
            at = self._look_after(hand)
            if at is not None:
                wake_at = at if wake_at is None else min(wake_at, at)
        return wake_at

    def _look_after(self, hand: Hand) -> float | None:
        now = monotonic()
        if hand.is_retiring:
            hand.retire()
        if hand.interruption is not None:
            if now < hand.interruption.kill_at:
                return hand.interruption.kill_at
            hand.kill()
            hand.interruption.kill_at = now + PATIENCE
            return hand.interruption.kill_at
        entry = hand.ledger.first()
        limit: float | None = entry[1].job.options.timeout if entry is not None else None
        if entry is None or limit is None:
            return None
        if hand.running() != entry[0]:
            return now + min(limit, 0.05)
        late = (monotonic_ns() - hand.desk.began_at) / 1e9 - limit
        if late < 0:
            return now - late
        hand.interrupt(entry[0], TaskTimeoutError(f"a task took longer than {limit} s"), GRACE)
        return now + GRACE

    # ---- the end ----

    def _fail_all(self, error: BaseException) -> None:
        self.backlog.clear()
        for job in list(self.jobs.values()):
            job.fail_rest(error)

    def _end(self) -> None:
        if self.state != CLOSE or self._hands:
            self._end_workers()
        self.state = TERMINATE if self.state == RUN else self.state
        self._has_ended = True  # before the last look at the jobs: who comes later looks at this
        self._fail_all(self._reason())
        self._bell.close()

    def _reason(self) -> BaseException:
        return self.broken or PoolTerminatedError("the pool was terminated before the task was done")

    def _end_workers(self) -> None:
        """SIGTERM, so that their exit code runs; SIGKILL to those that do not heed it, and all they have started."""
        hands = list(self._hands.values())
        for hand in hands:
            if hand.process.is_alive():
                hand.process.terminate()
        until = monotonic() + PATIENCE
        for hand in hands:
            hand.process.join(max(0.0, until - monotonic()))
            if hand.process.is_alive():
                hand.kill()
            hand.process.join()
            hand.desk.settle()
        self._hands.clear()


def _load_error(load: Callable[[bytes], Any], pickled: bytes) -> BaseException:
    """What a task raised; what unpickling it raised, if it cannot be."""
    try:
        return load(pickled)  # type: ignore[no-any-return]
    except Exception as refusal:  # noqa: BLE001  unpickling runs anybody's code
        return refusal
