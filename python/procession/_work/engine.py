"""The engine of a pool: one thread that gives tasks to workers, takes their results, and replaces the dead.

    callers --- backlog (a deque) --->  collector  --- desk: ring of tasks ---->  worker
            <-- jobs (results) -------  (a thread) <-- desk: ring of results ---  worker
                                            ^------------- bell, pidfds ------------'

A turn: take all results; bury the dead; give tasks; look after time limits; sleep until the bell
rings, somebody dies, or a time comes. Only the collector touches hands and ledgers, so there is nothing
to lock: callers append to the backlog and ring. A caller that finds the collector asleep and nothing else
going on does without it (`Engine.call`).

A worker has as many tasks before it as it does in some milliseconds. That one gets what
another could do sooner costs nothing: a hand without work takes unbegun tasks back from
who has most. A task is begun or taken back, never both, by one word (`claims.rs`); its result
is committed before the next is begun. So what is lost with a worker is what it was at.
"""

import os
import pickle
import threading
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from time import monotonic
from typing import Any, TypeVar

from procession import _native
from procession._base import log
from procession._base.errors import PoolTerminatedError, WorkerDiedError
from procession._work.crew import Crew
from procession._work.desk import Bell
from procession._work.dispatch import DEAF, WATCHFUL, Dispatch
from procession._work.floor import CLOSE, RUN, TERMINATE, Floor
from procession._work.hand import Hand
from procession._work.intake import Intake
from procession._work.jobs import ApplyResult, Job
from procession._work.limits import Limits
from procession._work.segments import Segment

NAP = 0.004
"""Longest sleep in which results are not waited for, in seconds: all workers have enough to do."""

WORTH_A_NAP = 0.0002
"""Seconds of work that all workers must have before them for that."""
BRIEF = 0.00005
"""Seconds of a task whose result is worth waiting for without sleeping."""

LONGEST = 1e5
"""Seconds that one sleep may last: poll() counts no more milliseconds than an int has."""

T = TypeVar("T")
AWAKE, IDLE, ANY, CALLER = 0, 1, 2, 3
"""What a sleeping collector is to be woken for; CALLER: for nothing, a caller waits at the desk itself."""


class Engine:
    """Workers, tasks and results of one pool."""

    died: type[WorkerDiedError] = WorkerDiedError
    is_executor = False
    """Whether workers do as those of concurrent.futures: pickle's refusal is the error itself, an initializer's logged."""

    def __init__(
        self,
        make_process: Callable[..., Any],
        size: int,
        initializer: Callable[..., object] | None,
        initargs: Iterable[Any],
        chunks: int | None,
    ) -> None:
        self.floor = Floor(size, chunks)
        self.jobs, self.backlog = self.floor.jobs, self.floor.backlog
        self._bell = Bell()
        self._intake = Intake(self.floor)
        self._crew = Crew(
            self.floor,
            self._intake,
            self._bell,
            self.died,
            make_process,
            initializer,
            initargs,
            self.is_executor,
        )
        self._dispatch, self._limits = Dispatch(self.floor), Limits(self.floor)
        self._requests: deque[Callable[[], None]] = deque()
        self._has_ended = False
        self._naps = count(1)
        self._nap = self._rung_for = 0
        """The number of the sleep that the collector is in (0: none), and of the last that it was roused from."""
        self._hatch = _native.Hatch()
        self.pid = os.getpid()
        self.thread = threading.Thread(target=self.run, name="procession-collector", daemon=True)

    @property
    def state(self) -> str:
        """RUN, CLOSE (finishes what it has) or TERMINATE."""
        return self.floor.state

    @state.setter
    def state(self, state: str) -> None:
        self.floor.state = state

    @property
    def processes(self) -> list[Any]:
        """The workers; at the end those that were the last."""
        return self._crew.processes

    # ---- the callers' side ----

    def start(self) -> None:
        """Start the workers, and the collector. What fails leaves nothing behind."""
        try:
            self._crew.start(self._first_workers())
            try:
                self.thread.start()
            except BaseException:
                self._crew.abandon()
                raise
        except BaseException:
            self._bell.close()
            raise

    def _first_workers(self) -> int:
        return self.floor.size

    def grow(self, tasks: int) -> None:
        """Have a worker for each of so many tasks, as far as the size allows."""
        if self._crew.count >= min(tasks, self.floor.size) or self._has_ended:
            return
        for hand in self._crew.hire_more(tasks):
            self.request(partial(self._crew.watch, hand))
            self._abandon_late(hand)

    def _abandon_late(self, hand: Hand) -> None:
        if self._has_ended:  # nobody will look after it
            hand.kill()
            hand.process.join()

    def submit(self, segment: Segment) -> None:
        """Have tasks run."""
        self.backlog.append(segment)
        if self._nap:
            self.rouse()
        elif self._has_ended:
            self.floor.fail_all(self._reason())

    def forget(self, job: Job) -> None:
        """An exception came while a job was submitted: it is no job, unless its tasks are among the others already."""

        def drop_what_never_came() -> None:
            given = (hand.ledger.has(job) for hand in self.floor.hands.values())
            if not any(segment.job is job for segment in self.backlog) and not any(given):
                job._leave_engine()

        self.request(drop_what_never_came)

    def call(self, job: ApplyResult[T], segment: Segment) -> T:
        """The result of the one task of a job, whose caller waits.

        With nothing else to do the caller itself hands the task to an idle worker and takes the result, while the
        collector sleeps (`hatch.rs`). What takes longer than a moment, or is no plain success, is the collector's.
        """
        how, value = 0, None
        if self._nap and self._nap != self._rung_for:
            message = self._dispatch.prepare(segment)
            if message is not None:
                try:
                    how, value = self._hatch.call(message, segment, pickle.loads)
                except BaseException:
                    self.rouse()
                    raise
        if how == 1:
            return value  # type: ignore[return-value]
        if how == 0:
            job.join_engine(self)
            self.submit(segment)
        else:
            self.rouse()
        return job.get()

    def rouse(self) -> None:
        """Wake the collector, if it sleeps and nobody has yet. An exception between two steps costs one ring too many."""
        nap = self._nap
        if nap and nap != self._rung_for:
            self._bell.ring()
            self._rung_for = nap

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

    def request(self, act: Callable[[], None]) -> None:
        """Have the collector do something between two turns."""
        self._requests.append(act)
        self.rouse()

    def cancel(self, job: Job) -> None:
        """End a job's only task, wherever it is."""
        self.request(lambda: self._dispatch.cancel(job))

    # ---- the collector ----

    def run(self) -> None:
        """Turn after turn, until the pool is at its end."""
        try:
            while not self._is_over():
                self._turn()
        except BaseException as error:  # noqa: BLE001  nobody waits for ever for a collector that is gone
            log.error("a pool's collector failed", error)
            self.floor.broken = error
        finally:
            self._end()

    def _is_over(self) -> bool:
        if self.floor.is_done():
            for hand in self.floor.hands.values():
                hand.retire()
            return not self.floor.hands
        return self.state == TERMINATE

    def _turn(self) -> None:
        for hand in list(self.floor.hands.values()):
            if hand.desk.has_results():
                self._intake.collect(hand)
        while self._requests:
            self._requests.popleft()()
        if self.floor.broken is not None:
            self.floor.fail_all(self.floor.broken)
        else:
            self._dispatch.feed()
        wake_at = self._limits.look()
        if self.state != TERMINATE:
            self._sleep(wake_at)

    def _sleep(self, wake_at: float | None) -> None:
        level, longest = self._depth_of_sleep()
        if level == ANY and self._is_answered_soon():
            return
        self._nap, served = next(self._naps), None
        try:
            for hand in self.floor.hands.values():
                if not hand.desk.watch(level):
                    longest = 0
            if self.state == TERMINATE or self._requests or (self.backlog and self._can_give()):
                longest = 0
            if self.floor.is_done() and not self.floor.awaits_ends():
                longest = 0
            if wake_at is not None:
                left = max(0.0, wake_at - monotonic())
                longest = left if longest is None else min(longest, left)
            if longest is None:
                served = self._serve()
            events = self._crew.poll.poll(
                None if longest is None else int(min(longest, LONGEST) * 1000 + 0.999)
            )
        finally:
            self._nap = 0
            if served is not None:
                self._take_over(served)
        for hand in self.floor.hands.values():
            hand.desk.watch(AWAKE)
        ended = [fd for fd, _ in events if fd in self.floor.hands]
        if len(ended) != len(events):
            self._bell.silence()
        if ended:
            self._crew.bury(ended)

    def _serve(self) -> Hand | None:
        """Let callers hand tasks to an idle worker themselves, if nothing else goes on; which that is."""
        floor = self.floor
        if self.jobs or floor.state != RUN or floor.broken is not None:
            return None
        if floor.chunks is not None or floor.memory_limit is not None:
            return None
        for hand in floor.hands.values():
            if hand.is_ready and hand.is_idle and hand.desk.watch(CALLER):
                self._hatch.open(hand.desk)
                return hand
        return None

    def _take_over(self, hand: Hand) -> None:
        """Nobody hands tasks to that worker any more: one that it has been given is the engine's from now on."""
        errand = self._hatch.shut()
        if errand is not None:
            number, segment = errand
            hand.ledger.give(number, segment, segment.job.prepared)
            hand.since = monotonic()
            segment.job.join_engine(self)

    def _is_answered_soon(self) -> bool:
        """Wait a little for a single short task, if somebody runs one and nothing else goes on."""
        busy = [hand for hand in self.floor.hands.values() if hand.ledger.count]
        return (
            len(busy) == 1
            and busy[0].ledger.count == 1
            and (busy[0].pace.seconds or 1.0) < BRIEF
            and not self._requests
            and busy[0].desk.linger()
        )

    def _can_give(self) -> bool:
        return any(hand.is_idle for hand in self.floor.hands.values()) or self.floor.broken is not None

    def _depth_of_sleep(self) -> tuple[int, float | None]:
        """What to be woken for, and after how long at the latest."""
        least = None
        is_somebody_heavy = is_somebody_idle = is_somebody_stuck = is_somebody_deaf = False
        for hand in self.floor.hands.values():
            tasks = hand.ledger.count
            if not tasks:
                is_somebody_idle = True
            else:
                is_somebody_heavy = is_somebody_heavy or hand.pace.is_heavy
                ahead = (tasks - 1) * (hand.pace.seconds or 0.0)
                least = ahead if least is None else min(least, ahead)
                unbegun = hand.unbegun()
                is_somebody_stuck = is_somebody_stuck or 0 < unbegun < tasks
                is_somebody_deaf = is_somebody_deaf or unbegun == tasks
        if least is None:
            return ANY, None
        if is_somebody_idle and is_somebody_stuck:
            return ANY, WATCHFUL
        if is_somebody_idle and is_somebody_deaf:
            return ANY, DEAF
        if is_somebody_idle or is_somebody_heavy or least < WORTH_A_NAP:
            return ANY, None
        return IDLE, min(NAP, least / 2)

    # ---- the end ----

    def _end(self) -> None:
        while self._requests:
            self._requests.popleft()()
        if self.state != CLOSE or self.floor.hands:
            self._crew.end()
        self.state = TERMINATE if self.state == RUN else self.state
        self._has_ended = True  # before the last look at the jobs: who comes later looks at this
        self.floor.fail_all(self._reason())
        # The bell stays open for as long as anybody has the engine: who roused it at the last moment may ring yet.

    def _reason(self) -> BaseException:
        return self.floor.broken or PoolTerminatedError("the pool was terminated before the task was done")
