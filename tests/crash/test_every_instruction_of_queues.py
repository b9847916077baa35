"""Death after every instruction of queues: an item is there whole or not at all, and everybody goes on."""

import contextlib
import queue
import select
from collections.abc import Callable
from typing import Any

import pytest
import stepping
from campaign import PATIENCE, Bystander, Campaign, until

import procession
from procession import _native

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]

BIG = b"x" * 100_000
WHOLE_CHUNK = b"c" * 30_000  # a second one does not fit into the chunk, or a third


class Scene:
    """A queue for each victim, with these items in it before."""

    def __init__(self, *items: Any, make: Callable[[], Any] = procession.Queue) -> None:
        self.items, self.make = items, make
        self.held: list[Any] = []

    def fresh(self) -> Any:
        q = self.make()
        q.put_many(self.items)
        self.held.append(q)
        return q

    def rest(self) -> list[Any]:
        """What is in it now, once the dead are swept; it goes on working, and then goes."""
        _native.sweep()
        q = self.held.pop()
        depth = q.qsize()
        q.put("one more")
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(q.get(timeout=0))
        assert found.pop() == "one more"
        assert len(found) == depth
        return found


PUTS = {
    "small": [7],
    "text": ["text" * 50],
    "pickled": [[[1], {"a": [2]}]],
    "new chunk": [WHOLE_CHUNK] * 3,
    "big": [BIG],
    "big, pickled": [[bytearray(BIG), [1]]],
}


@pytest.mark.parametrize("name", PUTS)
def test_put(stepper, stride, name):
    items = PUTS[name]
    scene = Scene("before")

    def act(q: Any) -> None:
        for item in items:
            q.put(item)

    def make_victim() -> int:
        q = scene.fresh()
        return stepping.fork_victim(lambda: q, act)

    def check() -> None:
        first, *rest = scene.rest()
        assert first == "before"
        assert rest == items[: len(rest)]

    Campaign(stepper, stride, f"Queue.put, {name}").run(make_victim, check=check)


def acquire_all(found: list[Any]) -> int:
    """Every lock of these items can be had; how many items."""
    for item in found:
        for lock in item:
            assert lock.acquire(timeout=PATIENCE)
            lock.release()
    return len(found)


def test_put_of_locks(stepper, stride):
    """They live as long as the item, or not at all."""
    scene = Scene()

    def make_victim() -> int:
        q = scene.fresh()
        return stepping.fork_victim(lambda: q, lambda q: q.put([procession.Lock(), procession.Lock()]))

    def check() -> None:
        assert acquire_all(scene.rest()) <= 1

    Campaign(stepper, stride, "Queue.put, locks").run(make_victim, check=check)


def test_get_of_locks(stepper, stride):
    """Nobody else holds them: they go with their receiver, and not before."""
    scene = Scene()

    def make_victim() -> int:
        q = scene.fresh()
        q.put_many([[procession.Lock()], [procession.Lock(), procession.Lock()]])
        return stepping.fork_victim(lambda: q, lambda q: q.get()[0].acquire())

    def check() -> None:
        assert acquire_all(scene.rest()) in (1, 2)

    Campaign(stepper, stride, "Queue.get, locks").run(make_victim, check=check)


def test_put_many(stepper, stride):
    """A prefix of them; within a chunk all or nothing, which is the core's business."""
    scene = Scene()
    items = [1, "two", [3, [4]], BIG, WHOLE_CHUNK, WHOLE_CHUNK, 7]

    def make_victim() -> int:
        q = scene.fresh()
        return stepping.fork_victim(lambda: q, lambda q: q.put_many(items))

    def check() -> None:
        rest = scene.rest()
        assert rest == items[: len(rest)]

    Campaign(stepper, stride, "Queue.put_many").run(make_victim, check=check)


GETS = {
    "small": [7, 8],
    "pickled": [[[1], {"a": [2]}], 8],
    "retired chunk": [WHOLE_CHUNK, WHOLE_CHUNK, WHOLE_CHUNK, 8],
    "big": [BIG, 8],
    "big, pickled": [[bytearray(BIG), [1]], 8],
}


@pytest.mark.parametrize("name", GETS)
def test_get(stepper, stride, name):
    """All but the last are got; what the victim had not got yet is there."""
    items = GETS[name]
    scene = Scene(*items)

    def make_victim() -> int:
        q = scene.fresh()
        return stepping.fork_victim(lambda: q, lambda q: [q.get() for _ in items[1:]])

    def check() -> None:
        rest = scene.rest()
        assert rest
        assert rest == items[-len(rest) :]

    Campaign(stepper, stride, f"Queue.get, {name}").run(make_victim, check=check)


def test_get_many(stepper, stride):
    items = [1, BIG, WHOLE_CHUNK, WHOLE_CHUNK, [5, [6]], 7]
    scene = Scene(*items)

    def make_victim() -> int:
        q = scene.fresh()
        return stepping.fork_victim(lambda: q, lambda q: q.get_many(5))

    def check() -> None:
        rest = scene.rest()
        assert rest == items[len(items) - len(rest) :]

    Campaign(stepper, stride, "Queue.get_many").run(make_victim, check=check)


def test_put_with_a_consumer_asleep(stepper, stride):
    """The producer dies while it wakes: the consumer gets the item all the same, or the next one."""
    scene = Scene()
    asleep: list[Bystander] = []

    def make_victim() -> int:
        q = scene.fresh()
        victim = stepping.fork_victim(lambda: q, lambda q: q.put("item"))
        asleep.append(Bystander(lambda: int(q.get(timeout=PATIENCE) not in ("item", "spare"))).sleeps())
        return victim

    def check() -> None:
        q = scene.held[-1]
        q.put("spare")
        assert asleep.pop().ended() == 0
        assert scene.rest() in ([], ["spare"])

    Campaign(stepper, stride, "Queue.put, a consumer asleep").run(make_victim, check=check)


def test_get_with_a_producer_asleep(stepper, stride):
    """The consumer dies while it makes room: the producer's item comes in as soon as there is room."""
    scene = Scene("first", make=lambda: procession.Queue(1))
    asleep: list[Bystander] = []

    def make_victim() -> int:
        q = scene.fresh()
        victim = stepping.fork_victim(lambda: q, lambda q: q.get())
        asleep.append(Bystander(lambda: q.put("second", timeout=PATIENCE) or 0).sleeps())
        return victim

    def check() -> None:
        q = scene.held[-1]
        got = q.get(timeout=PATIENCE)
        assert got in ("first", "second")
        if got == "first":
            assert q.get(timeout=PATIENCE) == "second"
        assert asleep.pop().ended() == 0
        assert scene.rest() == []

    Campaign(stepper, stride, "Queue.get, a producer asleep").run(make_victim, check=check)


def test_put_with_a_bell(stepper, stride):
    """Who watches the descriptor: readable when the item is there, once its producer was swept; and after the next put."""
    scene = Scene()

    def make_victim() -> int:
        q = scene.fresh()
        q.fileno()
        return stepping.fork_victim(lambda: q, lambda q: q.put("item"))

    def check() -> None:
        q = scene.held[-1]
        _native.sweep()
        if not q.empty():
            until(lambda: select.select([q], [], [], 0)[0], "nobody rang for the dead")
        q.put("spare")
        until(lambda: select.select([q], [], [], 0)[0], "the descriptor is not readable")
        assert scene.rest() in (["item", "spare"], ["spare"])
        q.close()

    Campaign(stepper, stride, "Queue.put, a bell").run(make_victim, check=check)


# ---- acknowledgements -----------------------------------------------------------------------


def redelivering() -> Any:
    return procession.JoinableQueue(redeliver=True)


def finish_all(scene: Scene) -> list[Any]:
    """Finishes what is to be had; join() returns then."""
    _native.sweep()
    q = scene.held.pop()
    found = []
    with contextlib.suppress(queue.Empty):
        while True:
            found.append(q.get(timeout=0))
            q.task_done()
    q.join()
    return found


def test_get_of_locks_and_acknowledge(stepper, stride):
    """Who gets them again gets them all, whatever their first receiver was at."""
    scene = Scene(make=redelivering)

    def work(q: Any) -> None:
        q.get()
        q.task_done()

    def make_victim() -> int:
        q = scene.fresh()
        q.put_many([[procession.Lock()], [procession.Lock(), procession.Lock()]])
        return stepping.fork_victim(lambda: q, work)

    def check() -> None:
        assert acquire_all(finish_all(scene)) in (1, 2)

    Campaign(stepper, stride, "JoinableQueue.get, task_done, locks").run(make_victim, check=check)


@pytest.mark.parametrize("item", [7, BIG], ids=["small", "big"])
def test_get_and_acknowledge(stepper, stride, item, request):
    """The item is finished, or comes again; it is never lost."""
    scene = Scene(item, "after", make=redelivering)

    def work(q: Any) -> None:
        q.get()
        q.task_done()

    def make_victim() -> int:
        q = scene.fresh()
        return stepping.fork_victim(lambda: q, work)

    def check() -> None:
        assert finish_all(scene) in ([item, "after"], ["after"])

    name = request.node.callspec.id
    Campaign(stepper, stride, f"JoinableQueue.get, task_done, {name}").run(make_victim, check=check)


def test_give_back(stepper, stride):
    scene = Scene("item", "after", make=redelivering)

    def work(q: Any) -> None:
        with contextlib.suppress(ZeroDivisionError), q.taking():
            raise ZeroDivisionError

    def make_victim() -> int:
        q = scene.fresh()
        return stepping.fork_victim(lambda: q, work)

    Campaign(stepper, stride, "JoinableQueue.taking, given back").run(
        make_victim, check=lambda: expect(finish_all(scene), ["item", "after"])
    )


def expect(found: list[Any], wanted: list[Any]) -> None:
    assert found == wanted


def test_get_of_what_a_dead_consumer_had(stepper, stride):
    """The second death: of who takes over what the first had taken."""
    scene = Scene("item", BIG, make=redelivering)

    def make_victim() -> int:
        q = scene.fresh()
        victim = stepping.fork_victim(lambda: q, lambda q: q.get(timeout=PATIENCE))
        stepping.bury(stepping.fork_victim(lambda: [q.get(), q.get()], lambda _: None))
        return victim

    Campaign(stepper, stride, "JoinableQueue.get, of the dead").run(
        make_victim, check=lambda: expect(finish_all(scene), ["item", BIG])
    )


def test_the_last_producer_leaves(stepper, stride):
    """The stream ends, whatever becomes of who ended it."""
    scene = Scene(make=lambda: procession.Queue(producers=1))

    def produce(q: Any) -> None:
        with q.producer():
            q.put("item")

    def make_victim() -> int:
        q = scene.fresh()
        return stepping.fork_victim(lambda: q, produce)

    def check() -> None:
        _native.sweep()
        q = scene.held.pop()
        with contextlib.suppress(procession.queues.ShutDown):
            # If it died before it came, somebody else must come.
            with q.producer():
                pass
        assert list(q) in (["item"], [])

    Campaign(stepper, stride, "Queue.producer").run(make_victim, check=check)


def test_shutdown(stepper, stride):
    scene = Scene("item", BIG)

    def make_victim() -> int:
        q = scene.fresh()
        return stepping.fork_victim(lambda: q, lambda q: q.shutdown(immediate=True))

    def check() -> None:
        _native.sweep()
        q = scene.held.pop()
        q.shutdown()
        assert list(q) in (["item", BIG], [])

    Campaign(stepper, stride, "Queue.shutdown").run(make_victim, check=check)


def test_dropped_by_the_last_holder(stepper, stride):
    """With items, chunks, a block and a lock in it."""

    def prepare() -> list[Any]:
        q = procession.Queue()
        q.put_many([1, WHOLE_CHUNK, WHOLE_CHUNK, WHOLE_CHUNK, BIG, procession.Lock()])
        return [q]

    Campaign(stepper, stride, "Queue dropped by the last holder").run(
        lambda: stepping.fork_victim(prepare, lambda held: held.clear())
    )


def lying_in_the_arena() -> memoryview:
    view = memoryview(_native.Memory._buffer(len(BIG)))
    view[:] = BIG
    return view


@pytest.mark.parametrize("end", ["put", "get"])
def test_what_lies_in_the_arena_is_handed_over(stepper, stride, end):
    """It is in the queue or not, and lives on with its maker; once with who has got it."""
    view = lying_in_the_arena()
    scene = Scene(*[view] * (end == "get"))

    def make_victim() -> int:
        q = scene.fresh()
        return stepping.fork_victim(lambda: q, lambda q: q.put(view) if end == "put" else q.get())

    def check() -> None:
        rest = scene.rest()
        assert rest in ([], [BIG])
        assert view == BIG

    Campaign(stepper, stride, f"Queue.{end}, what lies in the arena").run(make_victim, check=check)


def test_put_many_of_one_buffer(stepper, stride):
    """It is copied once, which goes with the last who has it."""
    scene = Scene()
    item = memoryview(bytearray(b"y" * (1 << 20)))

    def make_victim() -> int:
        q = scene.fresh()
        return stepping.fork_victim(lambda: q, lambda q: q.put_many([item, [item]]))

    def check() -> None:
        assert scene.rest() in ([], [item, [item]])

    Campaign(stepper, stride * 4, "Queue.put_many, one buffer").run(make_victim, check=check)


def test_a_received_array_is_dropped(stepper, stride):
    def prepare() -> list[Any]:
        q = procession.Queue()
        q.put(memoryview(BIG))
        return [q.get()]

    Campaign(stepper, stride, "a received buffer dropped").run(
        lambda: stepping.fork_victim(prepare, lambda held: held.clear())
    )
