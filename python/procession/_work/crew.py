"""The workers of a pool: started, watched, buried, replaced, and ended."""

import select
import signal
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing import util
from time import monotonic
from typing import Any

from procession._base import log
from procession._base.errors import WorkerDiedError
from procession._launch import preparation
from procession._wire.main_module import Forked
from procession._work import (
    answers,  # noqa: F401  or each forked worker would import it for itself
    naming,
    worker,
)
from procession._work.desk import Bell
from procession._work.floor import CLOSE, RUN, Floor
from procession._work.hand import PATIENCE, Hand
from procession._work.intake import Intake
from procession._work.oom import Counters
from procession._work.segments import Segment

FAILED_STARTS = 3
"""How many workers in a row, for each of the pool's, may end before they are ready."""
SHOTS = 10
"""How many of them, ended by a signal, count as one that ended by itself: somebody else's signal says little of the next."""


class Crew:
    """Hires as many hands as there should be; when one dies, its results count and the rest is for others."""

    def __init__(
        self,
        floor: Floor,
        intake: Intake,
        bell: Bell,
        died: type[WorkerDiedError],
        make_process: Callable[..., Any],
        initializer: Callable[..., object] | None,
        initargs: Iterable[Any],
        is_executor: bool,
    ) -> None:
        self._floor, self._intake, self._bell, self._died = floor, intake, bell, died
        self._make_process, self._initializer, self._initargs = make_process, initializer, initargs
        self._is_executor = is_executor
        self._hiring = threading.Lock()
        self.count = 0
        """How many have been started and not buried; guarded by `_hiring`."""
        self.processes: list[Any] = []
        self.poll = select.poll()
        self.poll.register(bell.fileno(), select.POLLIN)

    def start(self, size: int) -> None:
        """Start workers. What fails leaves none."""
        try:
            hands = self.hire_more(size)
            self._ooms = Counters()
            for hand in hands:
                self.watch(hand)
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Nobody will look after the workers: they are to end."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join()

    def hire_more(self, wanted: int) -> list[Hand]:
        """Start workers until there are `wanted`, or the pool's full size: in any thread, for the collector to watch."""
        with self._hiring:
            # One fork after the other: whatever this process writes in between is copied once more for each.
            hands = [self._find() for _ in range(min(wanted, self._floor.size) - self.count)]
            for hand in hands:
                self._hire(hand.process)
            return hands

    def _find(self) -> Hand:
        hand = Hand(self._floor.chunks, self._floor.memory_limit)
        hand.process = process = self._make_process(
            target=worker.work,
            args=(hand.desk, self._bell, hand.words, self._initializer, self._initargs, self._is_executor),
        )
        process.name = process.name.replace("Process", "PoolWorker")
        process.daemon = True
        return hand

    def _hire(self, process: Any) -> None:
        forked = Forked() if not self.count else None
        process.start()
        if forked is not None:
            # A context may bring processes of its own that have no such thing.
            is_forked = getattr(getattr(process, "_popen", None), "method", None) == "fork"
            self._floor.main = forked if is_forked else preparation.finds_main(preparation.data(process.name))
        self.processes.append(process)
        self.count += 1
        util.debug("added worker")

    def watch(self, hand: Hand) -> None:
        """The collector's, but for the first: look after a worker."""
        self._floor.hands[hand.process.sentinel] = hand
        self.poll.register(hand.process.sentinel, select.POLLIN)

    def bury(self, sentinels: list[int]) -> None:
        """Workers have ended: their results count, what they were at is lost, the rest is for others."""
        hands = [self._floor.hands.pop(sentinel) for sentinel in sentinels]
        for sentinel, hand in zip(sentinels, hands, strict=True):
            self.poll.unregister(sentinel)
            hand.process.join()
        with self._hiring:
            self.count -= len(hands)
        shot = [hand for hand in hands if hand.process.exitcode == -signal.SIGKILL and not hand.was_killed]
        verdict = self._ooms.judge(len(shot)) if shot or not self._floor.is_done() else False
        for hand in hands:
            oom = verdict if hand in shot else False
            self._settle(hand, oom)
            self._replace(hand, oom)

    def _settle(self, hand: Hand, oom: bool | None) -> None:
        if hand.desk.has_results():
            self._intake.collect(hand)
        lost, others = hand.ledger.bury(hand.desk.claims()[0], hand.desk.unread())
        hand.desk.settle()
        self._floor.put_back(others)
        for segment in lost:
            self._lose(hand, segment, oom)
        util.debug(f"worker {hand.process.pid} ended with exit code {hand.process.exitcode}")

    def _lose(self, hand: Hand, segment: Segment, oom: bool | None) -> None:
        interruption = hand.calm()
        if interruption is not None:
            self._intake.settle(segment, interruption.error, died=False)
            return
        process = hand.process
        error = self._died(
            segment.first,
            naming.describe(segment.job, segment.items[segment.low]),
            process.pid,
            process.exitcode,
            oom=oom,
            peak_memory=getattr(process._popen, "peak_memory", None),
            stderr=hand.words.tell(),
        )
        if hand.killed_for:
            error.add_note(hand.killed_for)
        self._intake.settle(segment, error, died=True)

    def _replace(self, hand: Hand, oom: bool | None) -> None:
        if not hand.is_ready and self._floor.broken is None:
            process = hand.process
            self._intake.failed_starts += 1 / SHOTS if (process.exitcode or 0) < 0 else 1
            if self._intake.failed_starts >= FAILED_STARTS * self._floor.size:
                self._floor.broken = self._died(
                    None, "", process.pid, process.exitcode, oom=oom, stderr=hand.words.tell()
                )
                self._floor.broken.add_note("workers die before they are ready: the pool runs no tasks")
        is_needed = self._floor.state == RUN or (
            self._floor.state == CLOSE and (self._floor.jobs or self._floor.backlog)
        )
        if not is_needed or self._floor.broken is not None:
            return
        with suppress(ValueError):  # unless it is the last: who looks for the pool's workers finds them
            self.processes.remove(hand.process)
        try:
            for new in self.hire_more(self.count + 1):
                self.watch(new)
        except Exception as error:  # noqa: BLE001  whatever keeps a process from starting
            if not self._floor.hands:
                self._floor.broken = error
            log.error("a pool could not replace a worker", error)

    def end(self) -> None:
        """SIGTERM, so that their exit code runs; SIGKILL to those that do not heed it, and all they have started."""
        hands = list(self._floor.hands.values())
        for hand in hands:
            if hand.process.is_alive():
                hand.process.terminate()
        until = monotonic() + PATIENCE
        for hand in hands:
            hand.process.join(max(0.0, until - monotonic()))
            if hand.process.is_alive():
                hand.kill()
            hand.process.join()
            self._intake.discard(hand)
            hand.desk.settle()
        self._floor.hands.clear()
