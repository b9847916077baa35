"""Death at every named point of the core, and at every point of the process that clears up after it.

Only in builds that have the points (`just crash` makes one).
"""

import os
import pathlib
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import stepping
import tour

import procession
from procession import _native
from procession._launch import spawn, zygote

pytestmark = [
    pytest.mark.crash,
    pytest.mark.crash_points,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:process .* died holding"),
    pytest.mark.skipif(not _native.CRASH_POINTS, reason="a build without crash points"),
]

NAMES = _native.crash_points()
PATIENCE = 5.0
LIVED, CHILD_DIED = 0, tour.CHILD_DIED  # how a victim ends that does not die itself


class Scene:
    """Objects shared with the victims, and what the arena held before."""

    def __init__(self) -> None:
        _native.ensure_arena()
        _native.sweep()
        self.blocks = _native.fsck()["blocks"]
        self.lock, self.rlock, self.value = _native.Lock(), _native.RLock(), _native.Value("q", 0)
        for act in (
            lambda: tour.everything(self.lock, self.rlock, self.value, contended=False),
            lambda: None,
        ):
            assert die_at("nowhere", 1, act) == LIVED  # what a first tour makes for good is made
        _native.sweep()
        self.before = self.held()

    @staticmethod
    def held() -> dict[str, int]:
        # Not the spans: a living process keeps an empty one of each size for its next object. Not the blocks: an object's
        # ledger keeps room for the most holders that it ever had.
        report = _native.fsck()
        return {key: report[key] for key in ("objects", "pinned", "garbage")}

    def must_vanish(self) -> None:
        del self.lock, self.rlock, self.value
        _native.sweep()
        assert _native.fsck()["objects"] == self.before["objects"] - 3
        assert _native.fsck()["blocks"] <= self.blocks

    def must_be_whole(self) -> None:
        for lock in (self.lock, self.rlock, self.value.get_lock()):
            assert lock.acquire(timeout=PATIENCE), "a lock was not to be had"
            lock.release()
        _native.sweep()
        report = _native.fsck()
        assert not report["inconsistent"], report["inconsistent"]
        assert not report["leaked"], report["leaked"]
        assert self.held() == self.before


@pytest.fixture
def scene() -> Iterator[Scene]:
    with stepping.subreaper():
        made = Scene()
        yield made
    made.must_vanish()


def children() -> set[int]:
    text = pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return set(map(int, text.split()))


def die_at(name: str, count: int, act: Callable[[], Any]) -> int:
    """Runs `act` in a child that is to die at a point; how it ended."""
    others = children()
    pid = os.fork()
    if pid == 0:
        os.environ["PROCESSION_CRASH"] = f"{name}:{count}"
        status = 70
        try:
            act()
            status = CHILD_DIED if tour.deaths else LIVED
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    give_up = time.monotonic() + 60
    while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() > give_up:
            os.kill(pid, signal.SIGABRT)
            os.waitpid(pid, 0)
            pytest.fail(f"the victim hung before {name}")
        time.sleep(0.001)
    reap_orphans(others)
    return os.waitstatus_to_exitcode(ended[1])


def reap_orphans(others: set[int]) -> None:
    """Wait for the victim's own children, which come to us."""
    quiet = 0
    while quiet < 2:  # the kernel's list may miss some while others end
        orphans = children() - others
        quiet = 0 if orphans else quiet + 1
        for orphan in orphans:
            os.waitpid(orphan, 0)


# Passed only by who meets an internal lock of the dead: the crates' own crash tests die there.
OF_HEIRS = {"container.repairing", "ilock.repaired", "ilock.taken_over", "queue.unclaimed"}
# Passed only where a queue frees a block under 32 KiB: Python sends such messages without a block, the crates' tests do not.
OF_CRATES = {"heap.released"}
# Passed only by a process that comes into the arena with a map of its own.
OF_NEWCOMERS = {"passage.settled"}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OF_HEIRS | OF_CRATES | OF_NEWCOMERS])
def test_death_at_point(scene, name, stride):
    died = 0
    for count in (1, 2, 3, 7) if stride == 1 else (1, 3):
        for contended in (False, True):
            ended = die_at(
                name,
                count,
                lambda: tour.everything(scene.lock, scene.rlock, scene.value, contended=contended),
            )
            assert ended in (LIVED, CHILD_DIED, -signal.SIGKILL)
            died += ended != LIVED
            scene.must_be_whole()
            if died and stride > 1:
                return
    assert died, f"no operation of the tour passes {name}"


@pytest.fixture
def fatal(monkeypatch) -> Callable[[str], None]:
    """Plans the death of interpreters that are started from now on, and of what they fork; not our own."""
    wish = ""

    def with_wish(execute: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any) -> None:
            os.environ["PROCESSION_CRASH"] = wish
            try:
                execute(*args)
            finally:
                del os.environ["PROCESSION_CRASH"]

        return call

    for launcher in (spawn, zygote):
        monkeypatch.setattr(launcher, "execute", with_wish(launcher.execute))

    def plan(name: str) -> None:
        nonlocal wish
        wish = name

    return plan


def newcomer_ends(method: str, scene: Scene) -> int:
    """How a process ended that began as a new interpreter, or as a copy of one, and went on the tour."""
    others = children()
    handles = tuple(shared._handle() for shared in (scene.lock, scene.rlock, scene.value))
    child = procession.get_context(method).Process(target=tour.newcomer, args=(procession.Lock(), handles))
    child.start()
    child.join(60)
    if child.exitcode is None:
        child.kill()
        pytest.fail("the newcomer hung")
    code: int = child.exitcode
    child.close()
    zygote.zygote.stop()
    reap_orphans(others)
    return code


def test_death_of_a_newcomer(scene, fatal, name, method):
    died = 0
    for count in (1, 3):
        fatal(f"{name}:{count}")
        ended = newcomer_ends(method, scene)
        assert ended in (LIVED, CHILD_DIED, -signal.SIGKILL)
        died += ended != LIVED
        scene.must_be_whole()
    assert died, f"no newcomer passes {name}"


HEIRS_A_NAME = (
    12  # places of the heir's death; the crates' crash tests die twice at all pairs of named points
)


def pytest_generate_tests(metafunc):
    if metafunc.function.__name__ == "test_second_death":
        stride = metafunc.config.getoption("--stride") or 1
        metafunc.parametrize("name", NAMES[:: stride if stride == 1 else 4 * stride])
    if metafunc.function.__name__ == "test_death_of_a_newcomer":
        names = [name for name in NAMES if name not in OF_HEIRS | OF_CRATES]
        pairs = [(name, method) for name in names for method in ("spawn", "forkserver")]
        if (metafunc.config.getoption("--stride") or 1) > 1:  # every other name by one method, in turn
            pairs = [pair for at, pair in enumerate(pairs) if at % 8 in (0, 5) or pair[0] in OF_NEWCOMERS]
        metafunc.parametrize(("name", "method"), pairs)


def test_second_death(scene, name):
    """Who takes over, and sweeps, dies too, at a dozen places that it passes; with a stride, for few names."""
    tool = stepping.Stepper(stepping.code_of(_native.__file__))

    def clear_up(_: Any) -> Any:
        for lock in (scene.lock, scene.rlock):
            lock.acquire(timeout=PATIENCE) and lock.release()
        made = _native.Lock(), _native.Memory(1000)
        _native.sweep()
        return made

    def after_a_death(order: Callable[[int], Any]) -> Any:
        heir = stepping.fork_victim(lambda: None, clear_up)
        try:
            with stepping.subreaper():
                die_at(
                    name, 1, lambda: tour.everything(scene.lock, scene.rlock, scene.value, contended=False)
                )
            return order(heir)
        finally:
            stepping.bury(heir)

    def trace(heir: int) -> stepping.Trace:
        tool.begin_trace(heir)
        return tool.end_trace()

    def kill_at(place: stepping.Place) -> Callable[[int], stepping.Ended]:
        def order(heir: int) -> stepping.Ended:
            tool.begin_kill(heir, place)
            return tool.end()

        return order

    try:
        traced = after_a_death(trace)
        scene.must_be_whole()
        deaths = 0
        places = traced.plan(1)
        for place in places[:: max(1, len(places) // HEIRS_A_NAME)]:
            deaths += after_a_death(kill_at(place)).killed
            scene.must_be_whole()
    finally:
        tool.close()
    print(f"{name:<36} {traced.points:>6} points, {deaths:>6} second deaths")
    assert deaths
