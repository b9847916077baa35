"""Death after every instruction of a pool's worker at its desk: every task has its result, or is lost, or was not begun.

What the parent reads from the desk of a dead worker decides which tasks it gives to others. It must never give one
that ran already, nor lose more than the one that was begun and not answered.
"""

import pickle
from typing import Any

import pytest
import stepping
from campaign import Campaign

import procession
from procession import _native

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]

TASKS = 3
LARGE = 17  # a kind of record: its payload is the handle of the result's memory
SIZE = 100_000


def encode(value: object) -> tuple[int, bytes]:
    return 0, pickle.dumps(value)


def fail(error: BaseException) -> tuple[int, bytes]:
    return 16, pickle.dumps(error)


def no_bell() -> None:
    raise AssertionError("nobody has asked for it")


class Scene:
    """A desk for each victim, with a message of some tasks; each task marks that it ran."""

    def __init__(self, results: str) -> None:
        self.results = results
        self.ran = procession.RawArray("i", TASKS)
        self.held: list[Any] = []

    def fresh(self) -> Any:
        desk = _native.Desk(4096, 4096)
        assert desk.post(TASKS, b"the message") == 0
        assert desk.watch(3)  # as a caller that sleeps at the desk itself
        self.ran[:] = [0] * TASKS
        self.held.append(desk)
        return desk

    def task(self, number: int) -> object:
        self.ran[number] += 1
        return number if self.results == "plain" else (number, "encoded")

    def work(self, desk: Any) -> None:
        first, count, message = desk.take()
        assert message == b"the message"
        desk.run(first, range(count), self.task, False, encode, fail, no_bell)

    def check(self) -> None:
        desk = self.held.pop()
        values = [value for _, _, some in desk.receive(100, pickle.loads) for value in some]
        begun, _ = desk.claims()
        ran = list(self.ran)
        expected = range(TASKS) if self.results == "plain" else [(x, "encoded") for x in range(TASKS)]
        assert values == list(expected)[: len(values)]
        assert begun - len(values) in (0, 1), "one task at most is lost"
        assert ran[: len(values)] == [1] * len(values), "a result without its task"
        assert max(ran[:begun], default=0) <= 1
        assert ran[begun:] == [0] * (TASKS - begun), "a task that ran would be given to somebody else"
        if desk.unread() is not None:
            assert (begun, desk.unread()) == (0, 0)


@pytest.mark.parametrize("results", ["plain", "encoded"])
def test_take_and_run(stepper, stride, results):
    scene = Scene(results)

    def make_victim() -> int:
        scene.fresh()
        return stepping.fork_victim(lambda: scene.held[-1], scene.work)

    Campaign(stepper, stride, f"Desk.take and run, {results}").run(make_victim, check=scene.check)


def test_a_large_result(stepper, stride):
    """Its memory belongs to the parent from before it is put down: it has it then, or gives it up."""
    held: list[Any] = []

    def make_victim() -> int:
        desk = _native.Desk(4096, 4096)
        desk.post(1, b"")
        held.append(desk)
        return stepping.fork_victim(lambda: desk, put_down)

    def put_down(desk: Any) -> Any:
        memory = _native.Memory(SIZE)
        memoryview(memory)[-3:] = b"end"
        desk.lend(memory._handle())
        desk.tell(0, 1, LARGE, pickle.dumps(memory._handle()), no_bell)
        return memory

    def check() -> None:
        desk = held.pop()
        found = [pickle.loads(handle) for _, _, handle in desk.receive(10, pickle.loads)]
        assert len(found) <= 1
        for handle in found:
            assert bytes(memoryview(_native.Memory._open(handle))[-3:]) == b"end"
        desk.settle()

    Campaign(stepper, stride, "Desk.lend and tell").run(make_victim, check=check)
