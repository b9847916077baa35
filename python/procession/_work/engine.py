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
import threading
from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic, monotonic_ns
from typing import Any

from procession._base import log
from procession._base.errors import PoolTerminatedError, TaskTimeoutError, WorkerDiedError
from procession._work import post_mortem
from procession._work.crew import PATIENCE, Crew
from procession._work.desk import Bell
from procession._work.dispatch import WATCHFUL, Dispatch
from procession._work.floor import CLOSE, RUN, TERMINATE, Floor, take_back
from procession._work.hand import GRACE, Hand
from procession._work.intake import Intake
from procession._work.jobs import Job
from procession._work.segments import Segment

NAP = 0.004
"""Longest sleep in which results are not waited for, in seconds: all workers have enough to do."""

WORTH_A_NAP = 0.0002
"""Seconds of work that all workers must have before them for that."""
OFTEN = 0.05
"""Seconds between two looks at what announces itself by nothing: a worker's memory, a task that has not begun."""
FAR_TOO_MUCH = 1.25
"""How many times the memory that it may have costs a worker its life in the middle of a task."""
BRIEF = 0.00005
"""Seconds of a task whose result is worth waiting for without sleeping."""

AWAKE, IDLE, ANY = 0, 1, 2
"""What a sleeping collector is to be woken for."""


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
        self.floor = Floor(size, chunks)
        self.jobs, self.backlog = self.floor.jobs, self.floor.backlog
        self._bell = Bell()
        self._intake = Intake(self.floor)
        self._crew = Crew(
            self.floor, self._intake, self._bell, self.died, make_process, initializer, initargs
        )
        self._dispatch = Dispatch(self.floor)
        self._requests: deque[Callable[[], None]] = deque()
        self._is_asleep = self._has_ended = False
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
            self._crew.start()
            try:
                self.thread.start()
            except BaseException:
                self._crew.abandon()
                raise
        except BaseException:
            self._bell.close()
            raise

    def submit(self, segment: Segment) -> None:
        """Have tasks run."""
        self.backlog.append(segment)
        if self._is_asleep:
            self.rouse()
        elif self._has_ended:
            self.floor.fail_all(self._reason())

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
        wake_at = self._look_after_time()
        if self.state != TERMINATE:
            self._sleep(wake_at)

    def _sleep(self, wake_at: float | None) -> None:
        level, longest = self._depth_of_sleep()
        if level == ANY and self._is_answered_soon():
            return
        self._is_asleep = True
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
            events = self._crew.poll.poll(None if longest is None else int(longest * 1000 + 0.999))
        finally:
            self._is_asleep = False
        for hand in self.floor.hands.values():
            hand.desk.watch(AWAKE)
        for fd, _ in events:
            if fd == self._bell.fileno():
                self._bell.silence()
            elif fd in self.floor.hands:
                self._crew.bury(fd)

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
        is_somebody_idle = is_somebody_stuck = False
        for hand in self.floor.hands.values():
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
        if is_somebody_idle or least < WORTH_A_NAP:
            return ANY, None
        return IDLE, min(NAP, least / 2)

    # ---- time ----

    def _look_after_time(self) -> float | None:
        """Interrupt what takes too long, kill what does not heed it; when to look again."""
        wake_at = None
        for hand in self.floor.hands.values():
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
        at = self._look_after_memory(hand, now)
        entry = hand.ledger.first()
        limit: float | None = entry[1].job.options.timeout if entry is not None else None
        if entry is None or limit is None:
            return at
        if hand.running() != entry[0]:
            return now + min(limit, OFTEN)
        late = (monotonic_ns() - hand.desk.began_at) / 1e9 - limit
        if late < 0:
            return now - late
        hand.interrupt(entry[0], TaskTimeoutError(f"a task took longer than {limit} s"))
        return now + GRACE

    def _look_after_memory(self, hand: Hand, now: float) -> float | None:
        """Replace a worker that has more memory than it may: when its task is done, or now if it has far too much."""
        limit = self.floor.memory_limit
        if limit is None or (not hand.ledger.count and hand.measured_at > hand.since):
            return None
        if now < hand.measured_at + OFTEN:
            return hand.measured_at + OFTEN
        hand.measured_at = now
        used = post_mortem.resident(hand.process.pid)
        if used > limit * FAR_TOO_MUCH and hand.running() is not None:
            hand.killed_for = f"the pool killed it: it had {used:,} bytes of memory, of {limit:,} allowed"
            hand.kill()
        elif used > limit:
            take_back(self.floor, hand, hand.unbegun())
            hand.retire()
        return now + OFTEN

    # ---- the end ----

    def _end(self) -> None:
        if self.state != CLOSE or self.floor.hands:
            self._crew.end()
        self.state = TERMINATE if self.state == RUN else self.state
        self._has_ended = True  # before the last look at the jobs: who comes later looks at this
        self.floor.fail_all(self._reason())
        self._bell.close()

    def _reason(self) -> BaseException:
        return self.floor.broken or PoolTerminatedError("the pool was terminated before the task was done")
