"""Death after every instruction of semaphores: no permit is ever lost or doubled."""

import pytest
import stepping
from campaign import PATIENCE, Bystander, Campaign, until

from procession import _native

pytestmark = [
    pytest.mark.crash,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore:process .* died holding"),
]


def permits_are(semaphore: _native.Semaphore, *possible: int) -> None:
    """So many are free, by count and by taking them, once the dead are swept."""
    _native.sweep()
    value = semaphore.get_value()
    assert value in possible, f"{value} permits, not {possible}"
    for taken in range(value):
        assert semaphore.acquire(False), f"{value} permits, of which {taken} are to be had"
    assert not semaphore.acquire(False), f"{value} permits, and one more"
    for _ in range(value):
        semaphore.release()
    assert semaphore.get_value() == value


def come_back(semaphore: _native.Semaphore, permits: int) -> None:
    """All are there again: who waits for the last one gets it, without any sweep."""
    for _ in range(permits):
        assert semaphore.acquire(timeout=PATIENCE), "a permit is gone"
    for _ in range(permits):
        semaphore.release()
    permits_are(semaphore, permits)


def test_acquire(stepper, stride):
    semaphore = _native.Semaphore(2)
    Campaign(stepper, stride, "Semaphore.acquire").run(
        lambda: stepping.fork_victim(lambda: None, lambda _: semaphore.acquire()),
        check=lambda: come_back(semaphore, 2),
    )


def test_release(stepper, stride):
    """Of what the victim has acquired."""
    semaphore = _native.Semaphore(2)
    Campaign(stepper, stride, "Semaphore.release").run(
        lambda: stepping.fork_victim(semaphore.acquire, lambda _: semaphore.release()),
        check=lambda: come_back(semaphore, 2),
    )


def test_with(stepper, stride):
    semaphore = _native.Semaphore(1, 1)

    def enter_and_leave(_: object) -> None:
        with semaphore:
            pass

    Campaign(stepper, stride, "with Semaphore").run(
        lambda: stepping.fork_victim(lambda: None, enter_and_leave), check=lambda: come_back(semaphore, 1)
    )


def test_acquire_contended(stepper, stride):
    """The only permit is released while the victim spins or sleeps."""
    semaphore = _native.Semaphore(1)

    def make_victim() -> int:
        victim = stepping.fork_victim(lambda: None, lambda _: semaphore.acquire())
        semaphore.acquire()
        return victim

    def let_go(victim: int) -> None:
        until(lambda: stepping.is_asleep(victim), "the victim does not go to sleep")
        semaphore.release()

    Campaign(stepper, stride, "Semaphore.acquire, contended").run(
        make_victim, meanwhile=let_go, check=lambda: come_back(semaphore, 1)
    )


def test_acquire_in_vain(stepper, stride):
    semaphore = _native.Semaphore(1)

    def make_victim() -> int:
        victim = stepping.fork_victim(lambda: None, lambda _: semaphore.acquire(timeout=0.005))
        semaphore.acquire()
        return victim

    def check() -> None:
        semaphore.release()
        come_back(semaphore, 1)

    Campaign(stepper, stride, "Semaphore.acquire, timed out").run(make_victim, check=check)


def test_acquire_what_a_dead_process_had(stepper, stride):
    """The second death: of who takes permits back from the dead."""
    semaphore = _native.Semaphore(2)

    def make_victim() -> int:
        victim = stepping.fork_victim(lambda: None, lambda _: semaphore.acquire())
        take_both = lambda: (semaphore.acquire(), semaphore.acquire())  # noqa: E731
        stepping.bury(stepping.fork_victim(take_both, lambda _: None))
        return victim

    Campaign(stepper, stride, "Semaphore.acquire, of the dead").run(
        make_victim, check=lambda: come_back(semaphore, 2)
    )


def test_release_with_a_waiter(stepper, stride):
    """The holder dies while it hands over: the waiter must get the permit all the same."""
    semaphore = _native.Semaphore(1)
    waiting: list[Bystander] = []

    def make_victim() -> int:
        victim = stepping.fork_victim(semaphore.acquire, lambda _: semaphore.release())
        waiting.append(Bystander(lambda: int(not semaphore.acquire(timeout=PATIENCE))).sleeps())
        return victim

    def check() -> None:
        assert waiting.pop().ended() == 0, "the waiter did not get the permit"
        come_back(semaphore, 1)  # the waiter is dead, too

    Campaign(stepper, stride, "Semaphore.release, with a waiter").run(make_victim, check=check)


class Fresh:
    """A semaphore for each victim: its act changes for good how many permits there are."""

    def __init__(self, permits: int) -> None:
        self.permits = permits
        self.held: list[_native.Semaphore] = []

    def make(self) -> _native.Semaphore:
        self.held.append(_native.Semaphore(self.permits))
        return self.held[-1]

    def must_have(self, *possible: int) -> None:
        permits_are(self.held[-1], *possible)
        self.held.clear()


def test_release_of_what_another_acquired(stepper, stride):
    """A signal: one more permit or none, and the rest untouched."""
    fresh = Fresh(1)

    def make_victim() -> int:
        semaphore = fresh.make()
        return stepping.fork_victim(lambda: None, lambda _: semaphore.release())

    Campaign(stepper, stride, "Semaphore.release, a signal").run(
        make_victim, check=lambda: fresh.must_have(1, 2)
    )


def test_acquire_of_a_signal(stepper, stride):
    """Permits of a semaphore that signals have no owners: what was taken stays taken."""
    fresh = Fresh(1)

    def make_victim() -> int:
        semaphore = fresh.make()
        semaphore.release()
        return stepping.fork_victim(lambda: None, lambda _: semaphore.acquire())

    Campaign(stepper, stride, "Semaphore.acquire, a signal").run(
        make_victim, check=lambda: fresh.must_have(1, 2)
    )


def test_drop_with_permits(stepper, stride):
    """A handle goes while its process has permits: they stay taken, or it died first and they are back."""
    fresh = Fresh(5)

    def make_victim() -> int:
        held = [fresh.make()]
        victim = stepping.fork_victim(lambda: [held[0].acquire() for _ in range(3)], lambda _: drop(held))
        held.clear()
        return victim

    def drop(held: list[_native.Semaphore]) -> None:
        fresh.held.clear()
        held.clear()

    Campaign(stepper, stride, "Semaphore dropped, permits taken").run(
        make_victim, check=lambda: fresh.must_have(2, 5)
    )


def test_drop_by_the_last_holder(stepper, stride):
    def prepare() -> list[_native.Semaphore]:
        held = [_native.Semaphore(5)]
        held[0].acquire()
        return held

    Campaign(stepper, stride, "Semaphore dropped by the last holder").run(
        lambda: stepping.fork_victim(prepare, lambda held: held.clear())
    )


def test_get_value(stepper, stride):
    """Who looks repairs what a dead process left in the middle."""
    semaphore = _native.Semaphore(2)
    Campaign(stepper, stride, "Semaphore.get_value").run(
        lambda: stepping.fork_victim(semaphore.acquire, lambda _: semaphore.get_value()),
        check=lambda: come_back(semaphore, 2),
    )
