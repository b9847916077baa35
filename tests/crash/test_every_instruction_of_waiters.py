"""Death after every instruction of events, conditions and barriers: nobody who waits is forgotten."""

import threading
from typing import Any

import pytest
import stepping
from campaign import PATIENCE, Bystander, Campaign, acquirable, until

from procession import _native

pytestmark = [
    pytest.mark.crash,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore:process .* died holding"),
]

WOKEN, IN_VAIN, BROKEN = 0, 1, 3


# ---- events -------------------------------------------------------------------


def test_event_set_with_a_waiter(stepper, stride):
    event = _native.Event()
    waiting: list[Bystander] = []

    def make_victim() -> int:
        event.clear()
        victim = stepping.fork_victim(lambda: None, lambda _: event.set())
        waiting.append(Bystander(lambda: int(not event.wait(PATIENCE))).sleeps())
        return victim

    def check() -> None:
        if not event.is_set():
            event.set()
        assert waiting.pop().ended() == WOKEN, "the waiter was not woken"

    Campaign(stepper, stride, "Event.set, with a waiter").run(make_victim, check=check)


def test_event_set_and_clear(stepper, stride):
    event = _native.Event()

    def check() -> None:
        event.set()
        assert event.wait(0)
        event.clear()
        assert not event.wait(0)

    Campaign(stepper, stride, "Event.set and clear").run(
        lambda: stepping.fork_victim(lambda: None, lambda _: (event.set(), event.clear())), check=check
    )


def test_event_wait(stepper, stride):
    """The event is set while the victim spins or sleeps, beside another waiter."""
    event = _native.Event()
    waiting: list[Bystander] = []

    def make_victim() -> int:
        event.clear()
        return stepping.fork_victim(lambda: None, lambda _: event.wait())

    def set_it(victim: int) -> None:
        waiting.append(Bystander(lambda: int(not event.wait(PATIENCE))).sleeps())
        until(lambda: stepping.is_asleep(victim), "the victim does not go to sleep")
        event.set()

    def check() -> None:
        assert waiting.pop().ended() == WOKEN, "the other waiter was not woken"

    Campaign(stepper, stride, "Event.wait").run(make_victim, meanwhile=set_it, check=check)


def test_event_wait_in_vain(stepper, stride):
    event = _native.Event()

    def check() -> None:
        assert not event.is_set()

    Campaign(stepper, stride, "Event.wait, timed out").run(
        lambda: stepping.fork_victim(lambda: None, lambda _: event.wait(0.005)), check=check
    )


# ---- conditions ---------------------------------------------------------------


class Conditions:
    """A condition and who waits for it."""

    def __init__(self) -> None:
        self.condition: Any = _native.Condition(_native.RLock())
        self.lock: Any = self.condition._lock
        self.bystanders: list[Bystander] = []

    def wait(self, timeout: float | None = None) -> bool:
        with self.lock:
            woken: bool = self.condition.wait(timeout)
        return woken

    def notify(self, n: int = 1) -> None:
        assert self.lock.acquire(timeout=PATIENCE), "the lock was not to be had"
        self.condition.notify(n)
        self.lock.release()

    def sleeping_is(self, number: int) -> bool:
        return bool(self.condition._sleeping() == number)

    def add_bystander(self) -> Bystander:
        self.bystanders.append(Bystander(lambda: int(not self.wait(PATIENCE))).sleeps())
        return self.bystanders[-1]

    def check(self) -> None:
        """Nobody waits any more, and one who waits now is notified."""
        acquirable(self.lock)
        self.notify(9)
        while self.bystanders:
            assert self.bystanders.pop().ended() == WOKEN, "the bystander was not notified"
        assert self.sleeping_is(0), "the dead wait"
        with self.lock:
            assert not self.condition.wait(0), "an old notification is left"


def test_condition_wait(stepper, stride):
    """Notified while it spins or sleeps."""
    scene = Conditions()

    def notify(victim: int) -> None:
        until(lambda: stepping.is_asleep(victim), "the victim does not go to sleep")
        scene.notify()

    Campaign(stepper, stride, "Condition.wait").run(
        lambda: stepping.fork_victim(lambda: None, lambda _: scene.wait()),
        meanwhile=notify,
        check=scene.check,
    )


def test_condition_wait_in_vain(stepper, stride):
    scene = Conditions()
    Campaign(stepper, stride, "Condition.wait, timed out").run(
        lambda: stepping.fork_victim(lambda: None, lambda _: scene.wait(0.005)), check=scene.check
    )


def test_condition_wait_the_first(stepper, stride):
    """The first to wait makes the room that waiters are written down in."""
    scenes: list[Conditions] = []

    def make_victim() -> int:
        scene = Conditions()
        scenes.append(scene)
        return stepping.fork_victim(lambda: None, lambda _: scene.wait(0.001))

    def check() -> None:
        scenes[-1].check()
        scenes.clear()

    Campaign(stepper, stride, "Condition.wait, the first").run(make_victim, check=check)


def test_condition_notification_passes_on(stepper, stride):
    """One notification, two that wait: when the first dies of it, with no lock to tell of that, the other hears."""
    scene = Conditions()
    deaths_with_the_lock = [0]

    def make_victim() -> int:
        return stepping.fork_victim(scene.lock.acquire, lambda _: scene.condition.wait())

    def notify_one(victim: int) -> None:
        until(lambda: stepping.is_asleep(victim), "the victim does not go to sleep")
        assert scene.lock.acquire(timeout=PATIENCE)
        scene.lock.release()
        scene.add_bystander()
        deaths_with_the_lock[0] = scene.lock.recovered
        scene.notify()

    def check() -> None:
        other = scene.bystanders[-1]
        acquirable(scene.lock)
        if scene.lock.recovered == deaths_with_the_lock[0]:
            until(lambda: stepping.is_dead(other.pid), "the notification died with the victim")
        scene.check()

    Campaign(stepper, stride, "Condition.wait, one of two notified").run(
        make_victim, meanwhile=notify_one, check=check
    )


@pytest.mark.parametrize("n", [1, 2])
def test_condition_notify(stepper, stride, n):
    """The notifier dies: who waited is notified by the next one at the latest."""
    scene = Conditions()

    def make_victim() -> int:
        scene.add_bystander()
        scene.add_bystander()
        return stepping.fork_victim(scene.lock.acquire, lambda _: scene.condition.notify(n))

    Campaign(stepper, stride, f"Condition.notify({n})").run(make_victim, check=scene.check)


# ---- barriers -----------------------------------------------------------------


def meet(barrier: _native.Barrier) -> int:
    try:
        barrier._wait(None, PATIENCE)
    except threading.BrokenBarrierError:
        return BROKEN
    return WOKEN


class Barriers:
    """A barrier and who waits at it."""

    def __init__(self, parties: int) -> None:
        self.barrier = _native.Barrier(parties)
        self.bystanders: list[Bystander] = []

    def add_bystander(self) -> None:
        self.bystanders.append(Bystander(lambda: meet(self.barrier)).sleeps())

    def check_works(self) -> None:
        self.barrier.reset()
        assert self.barrier.n_waiting == 0
        assert not self.barrier.broken
        for _ in range(self.barrier.parties - 1):
            self.add_bystander()
        assert meet(self.barrier) == WOKEN
        while self.bystanders:
            assert self.bystanders.pop().ended() == WOKEN


def test_barrier_a_party_that_waits(stepper, stride):
    """It dies at the barrier: the others hear of it."""
    scene = Barriers(3)

    def make_victim() -> int:
        scene.add_bystander()
        return stepping.fork_victim(lambda: None, lambda _: meet(scene.barrier))

    def come(victim: int) -> None:
        until(lambda: stepping.is_asleep(victim), "the victim does not go to sleep")
        if not stepping.is_dead(victim):
            meet(scene.barrier)

    def check() -> None:
        ended = lambda: stepping.is_dead(scene.bystanders[-1].pid)  # noqa: E731
        if scene.barrier.n_waiting == 1 and not ended():  # the victim has not come
            scene.barrier.abort()
        until(ended, "the other party hangs")
        assert scene.bystanders.pop().ended() in (WOKEN, BROKEN)
        scene.check_works()

    Campaign(stepper, stride, "Barrier.wait, not the last").run(make_victim, meanwhile=come, check=check)


def test_barrier_a_party_that_nobody_joins(stepper, stride):
    """It dies at the barrier, and nobody else comes: the one who waits hears of it by itself."""
    scene = Barriers(3)

    def make_victim() -> int:
        scene.add_bystander()
        return stepping.fork_victim(lambda: None, arrive)

    def arrive(_: object) -> None:
        try:
            scene.barrier._wait(None, 0.02)
        except threading.BrokenBarrierError:
            pass

    def check() -> None:
        ended = lambda: stepping.is_dead(scene.bystanders[-1].pid)  # noqa: E731
        if scene.barrier.n_waiting == 1 and not ended():
            scene.barrier.abort()
        until(ended, "the other party hangs")
        assert scene.bystanders.pop().ended() == BROKEN, "the other party was let go"
        scene.check_works()

    Campaign(stepper, stride, "Barrier.wait, timed out").run(make_victim, check=check)


def test_barrier_the_last_party(stepper, stride):
    """It dies while it lets the others go: they go, or the barrier is broken."""
    scene = Barriers(2)

    def make_victim() -> int:
        scene.add_bystander()
        return stepping.fork_victim(lambda: None, lambda _: meet(scene.barrier))

    def check() -> None:
        ended = lambda: stepping.is_dead(scene.bystanders[-1].pid)  # noqa: E731
        if scene.barrier.n_waiting == 1 and not ended():  # the victim has not come
            assert meet(scene.barrier) == WOKEN
            assert scene.bystanders.pop().ended() == WOKEN
        else:
            assert scene.bystanders.pop().ended() in (WOKEN, BROKEN)
        scene.check_works()

    Campaign(stepper, stride, "Barrier.wait, the last").run(make_victim, check=check)


def test_barrier_a_member_that_comes_again(stepper, stride):
    """It was there before, and dies on its way out or at the barrier: nobody waits for it unasked."""
    scene = Barriers(2)

    def meet_twice() -> int:
        return max(meet(scene.barrier), meet(scene.barrier))

    def make_victim() -> int:
        scene.bystanders.append(Bystander(meet_twice).sleeps())
        return stepping.fork_victim(lambda: meet(scene.barrier), lambda _: meet(scene.barrier))

    def check() -> None:
        ended = lambda: stepping.is_dead(scene.bystanders[-1].pid)  # noqa: E731
        until(lambda: scene.barrier.n_waiting == 1 or ended(), "the other party does not come again")
        if not ended():  # the victim has not come
            scene.barrier.abort()
        assert scene.bystanders.pop().ended() in (WOKEN, BROKEN)
        scene.check_works()

    Campaign(stepper, stride, "Barrier.wait, again").run(make_victim, check=check)


@pytest.mark.parametrize("act", ["abort", "reset"])
def test_barrier_abort_and_reset(stepper, stride, act):
    scene = Barriers(2)

    def make_victim() -> int:
        scene.add_bystander()
        return stepping.fork_victim(lambda: None, lambda _: getattr(scene.barrier, act)())

    def check() -> None:
        scene.barrier.abort()
        assert scene.bystanders.pop().ended() == BROKEN, "who waited was let go"
        scene.check_works()

    Campaign(stepper, stride, f"Barrier.{act}").run(make_victim, check=check)
