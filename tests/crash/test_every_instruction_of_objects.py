"""Death after every instruction of what all objects have in common: to be made, opened, dropped, swept."""

from collections.abc import Callable
from typing import Any

import pytest
import stepping
from campaign import Campaign, acquirable

from procession import _native

pytestmark = [
    pytest.mark.crash,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore:process .* died holding"),
]

MAKERS: dict[str, Callable[[], Any]] = {
    "Lock": _native.Lock,
    "RLock": _native.RLock,
    "Value": lambda: _native.Value("q", 7),
    "Array": lambda: _native.Array("i", 100),
    "Semaphore": lambda: _native.Semaphore(3),
    "Event": _native.Event,
    "Condition": lambda: _native.Condition(_native.RLock()),
    "Barrier": lambda: _native.Barrier(2),
    "Memory, a block": lambda: _native.Memory(1000),
    "Memory, a span": lambda: _native.Memory(60_000),
    "Memory, many spans": lambda: _native.Memory(300_000),
}
OBJECTS = pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)


@OBJECTS
def test_create_first(stepper, stride, maker, request):
    """A process's first object: a new span too."""
    Campaign(stepper, stride, f"create {request.node.callspec.id}, the first").run(
        lambda: stepping.fork_victim(lambda: None, lambda _: maker())
    )


@OBJECTS
def test_create_second(stepper, stride, maker, request):
    Campaign(stepper, stride, f"create {request.node.callspec.id}, the second").run(
        lambda: stepping.fork_victim(maker, lambda first: (first, maker()))
    )


@OBJECTS
def test_drop(stepper, stride, maker, request):
    """The last handle goes, in the process that made the object."""
    Campaign(stepper, stride, f"drop {request.node.callspec.id}").run(
        lambda: stepping.fork_victim(lambda: [maker()], lambda held: held.clear())
    )


@OBJECTS
def test_drop_inherited(stepper, stride, maker, request):
    """The last handle goes, in a child of the process that made the object."""
    held: list[Any] = []

    def make_victim() -> int:
        held.append(maker())
        victim = stepping.fork_victim(lambda: None, lambda _: held.clear())
        held.clear()
        return victim

    Campaign(stepper, stride, f"drop inherited {request.node.callspec.id}").run(make_victim)


def test_open_and_drop_handle(stepper, stride):
    lock = _native.Lock()
    handle = lock._handle()
    Campaign(stepper, stride, "open a handle, and drop it").run(
        lambda: stepping.fork_victim(lambda: None, lambda _: (_native.Lock._open(handle), None)[1]),
        check=lambda: acquirable(lock),
    )


def test_leave(stepper, stride):
    """A clean exit: the process gives back what it holds, and dies in the middle of that."""
    lock = _native.Lock()
    Campaign(stepper, stride, "leave, holding objects").run(
        lambda: stepping.fork_victim(
            lambda: [_native.Lock(), _native.Memory(1000)], lambda _: _native.leave()
        ),
        check=lambda: acquirable(lock),
    )


def test_sweep(stepper, stride):
    """The sweeper dies while it clears away what another death left."""
    lock = _native.Lock()

    def make_victim() -> int:
        victim = stepping.fork_victim(lambda: None, lambda _: _native.sweep())
        dead = stepping.fork_victim(
            lambda: (lock.acquire(), _native.Lock(), _native.Memory(1000)), lambda _: None
        )
        stepping.bury(dead)
        return victim

    Campaign(stepper, stride, "sweep").run(make_victim, check=lambda: acquirable(lock))
