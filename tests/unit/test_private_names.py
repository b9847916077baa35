"""docs/private-names.md says the truth: every name is looked up, and is what the page says it is."""

import importlib
import multiprocessing
import multiprocessing.managers
import multiprocessing.shared_memory
import pathlib
import re

import pytest

import procession
import procession.managers
import procession.shared_memory

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "private-names.md"
STATES = ("shared", "given", "standard", "declined")


def rows():
    for line in PAGE.read_text().splitlines():
        if line.startswith("| `"):
            names, state, _ = (cell.strip() for cell in line.strip("|").split("|"))
            for name in re.findall(r"`([^`]+)`", names):
                yield name, state


ROWS = dict(rows())


@pytest.fixture(scope="module")
def objects():
    """An object of each kind that the page speaks of, ours and the standard library's."""
    made = {}
    cleanup = []
    for module in (multiprocessing, procession):
        ctx = module.get_context("fork")
        ended = ctx.Process(target=int)
        ended.start()
        ended.join()
        pool, memory = ctx.Pool(1), module.shared_memory.SharedMemory(create=True, size=8)
        here, there = ctx.Pipe()
        queues = [ctx.Queue(), ctx.JoinableQueue(), ctx.SimpleQueue()]
        _ = [
            (one._rlock, one._wlock) for one in queues
        ]  # ours makes them when they are asked for, and keeps them
        made[module] = {
            "Pool": pool, "IMapIterator": pool.imap(abs, [1]), "MapResult": pool.map_async(abs, [1]),
            "SharedMemory": memory, "Connection": here, "Queue": queues[0], "JoinableQueue": queues[1],
            "SimpleQueue": queues[2], "Process": ctx.Process(target=int), "Popen": ended._popen,
            "SyncManager": module.managers.SyncManager(), "Context": module.context._default_context,
            "Lock": ctx.Lock(), "RLock": ctx.RLock(), "Semaphore": ctx.Semaphore(), "Condition": ctx.Condition(),
            "Event": ctx.Event(), "Barrier": ctx.Barrier(2), "Value": ctx.Value("i"), "Array": ctx.Array("i", 3),
        }  # fmt: skip
        cleanup += [
            memory.unlink,
            memory.close,
            pool.terminate,
            pool.join,
            here.close,
            there.close,
            ended.close,
        ]
        cleanup += [one.close for one in queues]
    yield made
    made.clear()
    for call in cleanup:
        call()


def look_up(package, objects, name):
    """The value of a name; AttributeError when there is none."""
    first, *rest = name.split(".")
    value = objects.get(first) or importlib.import_module(f"{package.__name__}.{first}")
    for part in rest:
        value = getattr(value, part)
    return value


def test_the_page_can_be_read():
    assert len(ROWS) > 200
    assert set(ROWS.values()) == set(STATES)


@pytest.mark.filterwarnings("ignore:.*multi-threaded")
def test_the_names(objects):
    wrong = [f"{name}: {what}" for name, state in ROWS.items() if (what := fault(objects, name, state))]
    assert wrong == []


def fault(objects, name, state):
    """What is wrong with a row."""
    theirs = ours = None
    try:
        theirs = look_up(multiprocessing, objects[multiprocessing], name)
    except AttributeError:
        return "the standard library has none"
    try:
        ours = look_up(procession, objects[procession], name)
    except AttributeError:
        return None if state == "declined" else "there is none"
    if state == "declined":
        return "there is one"
    is_module = name.split(".")[0] not in objects[procession]
    if state == "shared" and is_module and ours is not theirs:
        return "it is another object"
    return None
