"""Random work on shared objects by processes that are killed at random.

    python tests/stress/chaos.py SECONDS [--seed N] [--workers 6] [--kill-every 0.003]

Workers take locks around pairs of counters, add to values, take permits, set and wait for events, wait for and notify
conditions, meet at barriers, put and get, send and receive, change and read containers, make, drop and pass on objects,
fork, and are killed (SIGKILL) or stopped and continued at any moment. Those that live check on every entry that the one
before them left whole what the lock guards, or died in it: a pair may be torn only when the lock says that it was taken
over. At the end the totals must lie between what was finished and what was begun, the arena must be consistent and hold
what it held before, and no process or descriptor may be left.
"""

import argparse
import contextlib
import os
import random
import signal
import struct
import sys
import threading
import time
import warnings
from dataclasses import dataclass, field
from typing import Any

from cells import Cells
from entries import Containers
from messages import Messages
from wires import Wires

import procession
from procession import _native

LOCKS, VALUES, SLOTS = 3, 2, 64
PERMITS, PARTIES = 3, 3
HANDLE = struct.Struct("=16sQQ")
STALL = 20.0  # seconds without an operation of any worker: a hang
IDLE = 0
COUNTS = (
    "begun",
    "done",
    "adds_begun",
    "adds_done",
    "inside",
    "operations",
    "puts_begun",
    "puts_done",
    "puts_refused",
    "gets_done",
    "sums_begun",
    "sums_done",
    "log_begun",
    "log_done",
    "sends_begun",
    "sends_done",
    "heard",
)


@dataclass
class World:
    """What all share."""

    locks: list[Any]
    values: list[Any]
    semaphore: Any
    signals: Any
    event: Any
    condition: Any
    barrier: Any
    messages: Messages
    containers: Containers
    wires: Wires
    pairs: Cells  # a row per lock
    ledger: Cells  # a row per worker's slot
    mail: tuple[int, int]
    faults: tuple[int, int]
    stop: Cells
    children: dict[int, int] = field(default_factory=dict)  # pid: slot

    @classmethod
    def create(cls) -> "World":
        mail, faults = os.pipe(), os.pipe()
        for end in (*mail, *faults):
            os.set_blocking(end, False)
        return cls(
            locks=[(procession.Lock, procession.RLock)[n % 2]() for n in range(LOCKS)],
            values=[procession.Value("q", 0) for _ in range(VALUES)],
            semaphore=procession.BoundedSemaphore(PERMITS),
            signals=procession.Semaphore(0),
            event=procession.Event(),
            condition=procession.Condition(),
            barrier=procession.Barrier(PARTIES),
            messages=Messages(),
            containers=Containers(SLOTS),
            wires=Wires(),
            pairs=Cells("first", "second", "holder", "recovered", "torn", rows=LOCKS),
            ledger=Cells(*COUNTS, rows=SLOTS),
            mail=mail,
            faults=faults,
            stop=Cells("now"),
        )

    def close(self) -> None:
        self.wires.close()
        for cells in (self.pairs, self.ledger, self.stop, self.containers):
            cells.close()
        for end in (*self.mail, *self.faults):
            os.close(end)


class Worker:
    """One process's random life."""

    def __init__(self, world: World, slot: int, seed: str) -> None:
        self.world, self.slot, self.random = world, slot, random.Random(seed)
        self.kept: list[Any] = []

    def live(self) -> None:
        acts = (
            [self.update] * 8
            + [self.add] * 4
            + [self.make] * 4
            + [self.drop] * 3
            + [self.send, self.receive] * 2
            + [self.fork]
            + [self.permit] * 4
            + [self.signal, self.meet] * 2
            + [self.announce, self.listen, self.notify, self.hear]
            + self.world.messages.acts(self.random, self.count, self.fault)
            + self.world.wires.acts(self.random, self.count, self.fault)
            + self.world.containers.acts(self.slot, self.random, self.count, self.fault)
        )
        self.world.ledger[self.slot, "inside"] = 0  # of who died here before
        while not self.world.stop[0, "now"]:
            self.random.choice(acts)()
            self.count("operations")

    def count(self, what: str) -> None:
        self.world.ledger[self.slot, what] += 1

    def fault(self, text: str) -> None:
        os.write(self.world.faults[1], f"pid {os.getpid()}: {text}\n".encode())

    def update(self) -> None:
        """Both counters of a pair, under its lock."""
        at = self.random.randrange(LOCKS)
        lock, pairs = self.world.locks[at], self.world.pairs
        again = isinstance(lock, _native.RLock) and self.random.random() < 0.3
        patience = self.random.choice((None, None, 0.0, 0.002, 1.0))
        if not lock.acquire(timeout=patience):
            return
        if again:
            lock.acquire()
        self.inspect(at)
        pairs[at, "holder"] = os.getpid()
        self.count("begun")
        pairs[at, "first"] += 1
        if self.random.random() < 0.1:
            time.sleep(0.0005)  # long enough to be killed in, and for others to wait
        pairs[at, "second"] += 1
        self.count("done")
        if pairs[at, "holder"] != os.getpid():
            self.fault(f"lock {at} had two holders: {pairs[at, 'holder']} came in")
        pairs[at, "holder"] = IDLE
        if again:
            lock.release()
        lock.release()

    def inspect(self, at: int) -> None:
        """What the last holder left; only a dead one may have left it torn."""
        lock, pairs = self.world.locks[at], self.world.pairs
        recovered = lock.recovered
        first, second = pairs[at, "first"], pairs[at, "second"]
        whole = first == second and pairs[at, "holder"] == IDLE
        if whole and recovered == pairs[at, "recovered"]:
            return
        if recovered == pairs[at, "recovered"]:
            self.fault(f"lock {at}: {first} and {second}, holder {pairs[at, 'holder']}, and no takeover")
        elif first - second not in (0, 1):
            self.fault(f"lock {at}: {first} and {second} after a takeover")
        else:
            pairs[at, "torn"] += first - second
        pairs[at, "second"] = first
        pairs[at, "holder"] = IDLE
        pairs[at, "recovered"] = recovered

    def add(self) -> None:
        value = self.random.choice(self.world.values)
        self.count("adds_begun")
        if self.random.random() < 0.5:
            value.add(1)
        else:
            with value.get_lock():
                value.value += 1
        self.count("adds_done")

    def permit(self) -> None:
        """Never more inside than there are permits. Who died inside counts no more as soon as its permit can be back."""
        semaphore, ledger = self.world.semaphore, self.world.ledger
        if not semaphore.acquire(timeout=self.random.choice((None, 0.0, 0.002, 1.0))):
            return
        ledger[self.slot, "inside"] = os.getpid()
        inside = [pid for slot in range(SLOTS) if (pid := ledger[slot, "inside"])]
        if len(inside) > PERMITS and sum(map(lives, inside)) > PERMITS:
            self.fault(f"{inside} are inside with {PERMITS} permits")
        if self.random.random() < 0.1:
            time.sleep(0.0005)
        ledger[self.slot, "inside"] = 0
        semaphore.release()

    def signal(self) -> None:
        """A permit that the taker does not own."""
        if self.random.random() < 0.5:
            self.world.signals.release()
        else:
            self.world.signals.acquire(timeout=self.random.choice((0.0, 0.002)))

    def announce(self) -> None:
        self.world.event.set()
        if self.random.random() < 0.5:
            self.world.event.clear()

    def listen(self) -> None:
        self.world.event.wait(self.random.choice((0.0, 0.001, 0.005)))

    def notify(self) -> None:
        with self.world.condition:
            self.world.condition.notify(self.random.choice((1, 2, 9)))

    def hear(self) -> None:
        with self.world.condition:
            self.world.condition.wait(self.random.choice((0.0005, 0.002, 0.005)))
            if not self.world.condition._lock._semlock._is_mine():
                self.fault("a wait ended without the lock")

    def meet(self) -> None:
        barrier = self.world.barrier
        try:
            before = barrier.wait(self.random.choice((0.001, 0.005, 0.05)))
        except threading.BrokenBarrierError:
            if self.random.random() < 0.5:
                barrier.reset()
            return
        if not 0 <= before < PARTIES:
            self.fault(f"{before} came before the last of {PARTIES}")

    def make(self) -> None:
        if len(self.kept) < 200:
            size = self.random.choice((8, 100, 3000, 40_000, 200_000))
            makers = (
                procession.Lock,
                procession.RLock,
                lambda: procession.Value("i", 5),
                lambda: procession.Array("i", size // 8),
                lambda: procession.Semaphore(2),
                procession.Event,
                procession.Condition,
                lambda: procession.Barrier(2),
                self.make_queue,
                lambda: _native.Memory(size),
            )
            self.kept.append(self.random.choice(makers)())

    def make_queue(self) -> Any:
        made = procession.Queue()
        made.put_many([1, "two", bytes(self.random.choice((10, 40_000)))] * 3)
        return made

    def drop(self) -> None:
        while self.kept and self.random.random() < 0.7:
            self.kept.pop(self.random.randrange(len(self.kept)))

    def send(self) -> None:
        lock = procession.Lock()
        with contextlib.suppress(BlockingIOError):
            os.write(self.world.mail[1], HANDLE.pack(*lock._handle()))
        self.kept.append(lock)

    def receive(self) -> None:
        """Somebody's lock; it may be gone by now."""
        try:
            letter = os.read(self.world.mail[0], HANDLE.size)
        except BlockingIOError:
            return
        try:
            lock = _native.Lock._open(HANDLE.unpack(letter))
        except procession.errors.StaleHandleError:
            return
        with lock:
            pass
        self.kept.append(lock)

    def fork(self) -> None:
        """A child for a moment; it may outlive this process, so it must not write into this process's row."""
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(Exception):
                self.random.choice((self.touch, self.make, self.drop, self.die))()
            _native.leave()
            os._exit(0)
        os.waitpid(pid, 0)

    def touch(self) -> None:
        at = self.random.randrange(LOCKS)
        with self.world.locks[at]:
            self.inspect(at)

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Chaos:
    """The hand that starts, kills and counts."""

    def __init__(self, world: World, options: argparse.Namespace) -> None:
        self.world, self.options = world, options
        self.random = random.Random(options.seed)
        self.kills = self.stops = self.births = self.failures = 0

    def run(self) -> None:
        end = time.monotonic() + self.options.seconds
        progress, since = -1, time.monotonic()
        while time.monotonic() < end and not self.failures:
            while len(self.world.children) < self.options.workers:
                self.start()
            time.sleep(self.random.expovariate(1 / self.options.kill_every))
            self.strike()
            self.read_faults()
            operations = self.total("operations")
            if operations != progress:
                progress, since = operations, time.monotonic()
            elif time.monotonic() - since > STALL:
                self.fail(f"no operation for {STALL} s: a hang")
        self.finish()

    def start(self) -> None:
        slot = min(set(range(SLOTS)) - set(self.world.children.values()))
        self.births += 1
        self.world.wires.renew()
        pid = os.fork()
        if pid == 0:
            self.world.children.clear()
            status = 70
            try:
                Worker(self.world, slot, f"{self.options.seed}.{self.births}").live()
                _native.leave()
                status = 0
            finally:
                if status:
                    import traceback

                    traceback.print_exc()
                os._exit(status)
        self.world.children[pid] = slot

    def strike(self) -> None:
        pid = self.random.choice(list(self.world.children))
        if self.random.random() < 0.1:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(self.random.uniform(0, 0.03))
            os.kill(pid, signal.SIGCONT)
            self.stops += 1
            return
        os.kill(pid, signal.SIGKILL)
        self.kills += 1
        self.bury(pid)

    def bury(self, pid: int) -> None:
        _, status = os.waitpid(pid, 0)
        del self.world.children[pid]
        if os.waitstatus_to_exitcode(status) not in (0, -signal.SIGKILL):
            self.fail(f"a worker ended with {os.waitstatus_to_exitcode(status)}")
        if self.random.random() < 0.5:
            _native.reaped()
        self.reap()

    def reap(self) -> None:
        """Orphaned grandchildren; and workers that ended unasked."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self.world.children.pop(pid, None) is not None:
                self.fail(f"a worker ended unasked with {os.waitstatus_to_exitcode(status)}")

    def total(self, what: str) -> int:
        return sum(self.world.ledger[slot, what] for slot in range(SLOTS))

    def read_faults(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.fail(os.read(self.world.faults[0], 1 << 16).decode())

    def fail(self, text: str) -> None:
        self.failures += 1
        print("FAULT", text.strip(), file=sys.stderr, flush=True)

    def finish(self) -> None:
        """All out; then the sums must be right."""
        self.world.stop[0, "now"] = 1
        give_up = time.monotonic() + STALL
        for pid in list(self.world.children):
            while os.waitpid(pid, os.WNOHANG)[0] == 0:
                if time.monotonic() > give_up:
                    self.fail(f"worker {pid} does not end")
                    os.kill(pid, signal.SIGABRT)
                    os.waitpid(pid, 0)
                    break
                time.sleep(0.002)
        self.world.children.clear()
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)
        self.read_faults()
        inspector = Worker(self.world, 0, "last")
        for at, lock in enumerate(self.world.locks):
            if not lock.acquire(timeout=5):
                self.fail(f"lock {at} is not to be had")
                continue
            inspector.inspect(at)
            lock.release()
        self.permits()
        self.world.messages.verdict(self.total, self.kills, self.fail)
        self.world.wires.verdict(self.total, self.kills, self.fail)
        self.world.containers.verdict(self.total, self.kills, self.fail)
        firsts = sum(self.world.pairs[at, "first"] for at in range(LOCKS))
        values = sum(value.value for value in self.world.values)
        self.between("pairs", self.total("done"), firsts, self.total("begun"))
        self.between("values", self.total("adds_done"), values, self.total("adds_begun"))

    def permits(self) -> None:
        """All back, by count and by taking them; and those who wait are all gone."""
        _native.sweep()
        semaphore, signals = self.world.semaphore, self.world.signals
        if semaphore.get_value() != PERMITS or [semaphore.acquire(False) for _ in range(PERMITS + 1)] != [
            True
        ] * PERMITS + [False]:
            self.fail(f"{semaphore.get_value()} permits are back of {PERMITS}")
        if not all(signals.acquire(False) for _ in range(signals.get_value())) or signals.acquire(False):
            self.fail("the signals do not number what get_value() says")
        waiting = self.world.condition._sleeping(), self.world.barrier.n_waiting
        if waiting != (0, 0):
            self.fail(f"{waiting} wait at the condition and the barrier")

    def between(self, what: str, done: int, counted: int, begun: int) -> None:
        # A count of what was begun or done is itself lost when its process dies between the count and the act.
        if not done <= counted <= begun + self.kills:
            self.fail(f"{what}: {counted} counted, {done} done, {begun} begun")


def lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def state() -> tuple[dict[str, int], int]:
    _native.sweep()
    report = _native.fsck()
    for text in [*report["inconsistent"], *report["leaked"]]:
        print("FAULT", text, file=sys.stderr)
    whole = not report["inconsistent"] and not report["leaked"]
    # Not the spans: a living process keeps an empty one of each size for its next object.
    return {key: report[key] for key in ("objects", "pinned", "blocks", "garbage")}, whole


def become_subreaper() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("seconds", type=float)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--kill-every", type=float, default=0.003, help="mean seconds between kills")
    options = parser.parse_args()
    print(f"chaos: seed {options.seed}, {options.workers} workers, {options.seconds:g} s", flush=True)
    warnings.simplefilter("ignore")
    become_subreaper()
    _native.ensure_arena()
    before, _ = state()
    descriptors = len(os.listdir("/proc/self/fd"))
    began = time.monotonic()
    world = World.create()
    chaos = Chaos(world, options)
    chaos.run()
    recovered = sum(lock.recovered for lock in world.locks)
    torn = sum(world.pairs[at, "torn"] for at in range(LOCKS))
    operations = chaos.total("operations")
    returned = world.semaphore.recovered
    passed = world.messages.plain.statistics().gets
    heard, renewed = chaos.total("heard"), world.wires.renewed
    met = world.barrier.statistics().generations
    world.close()
    del world, chaos.world
    after, whole = state()
    if not whole or after != before:
        chaos.fail(f"the arena held {before}, now {after}")
    if len(os.listdir("/proc/self/fd")) != descriptors:
        chaos.fail("descriptors are left")
    print(
        f"chaos: {time.monotonic() - began:.0f} s, seed {options.seed}: {chaos.kills} kills, {chaos.stops} stops, "
        f"{operations} operations, {recovered} takeovers of the watched locks, {torn} torn updates reported, "
        f"{returned} returns of permits, {met} generations at the barrier, "
        f"{passed} items got, {heard} messages heard, {renewed} connections torn"
    )
    print(f"{int(not chaos.failures)} passed, {chaos.failures} failed")
    return int(chaos.failures > 0)


if __name__ == "__main__":
    sys.exit(main())
