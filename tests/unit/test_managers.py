"""Managers: what lies in the arena, what is in a server, and what is said of those that have gone."""

import contextlib
import copy
import multiprocessing.managers
import os
import pathlib
import pickle
import sys
import threading

import pytest
from children import finish

import procession
from procession import _native, managers
from procession._serve.arena import KINDS, ArenaProxy
from procession.errors import ManagerDiedError

METHODS = ["fork", "spawn", "forkserver"]
fork = procession.get_context("fork")


class Counter:
    def __init__(self, value=0):
        self.value = value

    def add(self, n=1):
        self.value += n
        return self.value

    def leave(self):
        sys.exit(3)

    def child(self):
        return Counter(self.value)

    def _hidden(self):
        return "hidden"


class CounterManager(managers.SyncManager):
    pass


CounterManager.register("Counter", Counter, method_to_typeid={"child": "Child"})
CounterManager.register("Child", create_method=False)
CounterManager.register("Bare", Counter, exposed=("add", "_hidden"))


class OnlyCounters(managers.BaseManager):
    pass


OnlyCounters.register("Counter", Counter)
OnlyCounters.register("later")


@pytest.fixture
def manager():
    with fork.Manager() as made:
        yield made


def children():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return file.read().split()


# ---- in the arena ---------------------------------------------------------------


def test_its_own_types_need_no_process(manager):
    before = children()
    made = [
        manager.dict(a=1),
        manager.list("ab"),
        manager.set("a"),
        manager.Namespace(x=1),
        manager.Value("i", 1),
        manager.Array("i", 3 * [0]),
        manager.Queue(),
        manager.JoinableQueue(),
        manager.Lock(),
        manager.RLock(),
        manager.Semaphore(),
        manager.BoundedSemaphore(2),
        manager.Condition(),
        manager.Event(),
        manager.Barrier(1),
    ]
    assert children() == before
    assert manager._process is None
    assert {type(proxy)._typeid for proxy in made} == set(KINDS)
    assert manager._number_of_objects() == len(made)
    assert len(manager._debug_info().splitlines()) == 2 * len(made)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind._typeid)
def test_what_may_be_called_is_called_here(kind):
    """Else it would look for a server."""
    for name in kind._exposed_:
        owner = next(base for base in kind.__mro__ if name in vars(base))
        assert owner is object or issubclass(owner, ArenaProxy) or owner.__name__ == "ListProxy", (
            name,
            owner,
        )


def change_all(d, l, s, n, v, a, q, lock, event):
    with lock:
        d["child"] = l[0]
        l.append("child")
        s.add("child")
        n.child = True
        v.value += 1
        a[0] += 1
        q.put(("child", d))
        event.set()


@pytest.mark.parametrize("method", METHODS)
def test_they_travel_to_children(method, start):
    context = procession.get_context(method)
    with context.Manager() as manager:
        d, l, s, n = manager.dict(), manager.list([1]), manager.set(), manager.Namespace()
        v, a, q, lock, event = (
            manager.Value("i", 1), manager.Array("i", [1]), manager.Queue(), manager.Lock(), manager.Event(),
        )  # fmt: skip
        child = start(context, change_all, d, l, s, n, v, a, q, lock, event)
        assert finish(child) == 0
        assert (d.copy(), l[:], s.copy(), n.child, v.value, a[:].tolist()) == (
            {"child": 1}, [1, "child"], {"child"}, True, 2, [2],
        )  # fmt: skip
        name, same = q.get()
        same["x"] = 1
        assert (name, d["x"], event.is_set()) == ("child", 1, True)


def use(manager, into):
    into["from"] = manager.dict(a=1)


@pytest.mark.parametrize("method", METHODS)
def test_so_does_the_manager(method, start):
    context = procession.get_context(method)
    with context.Manager() as manager:
        into = manager.dict()
        assert finish(start(context, use, manager, into)) == 0
        assert into["from"].copy() == {"a": 1}


def test_pool_workers_have_them(manager):
    with fork.Pool(2) as pool:
        d, q = manager.dict(), manager.Queue()
        assert pool.starmap(_record, [(d, q, n) for n in range(6)]) == list(range(6))
        assert sorted(d.keys()) == list(range(6))
        assert sorted(q.get() for _ in range(6)) == list(range(6))


def _record(d, q, number):
    d[number] = True
    q.put(number)
    return number


def test_a_copy_by_pickle_is_the_same_object(manager):
    d = manager.dict()
    again = pickle.loads(pickle.dumps(d))
    again["x"] = 1
    assert d["x"] == 1
    assert again._token.id == d._token.id == d._id
    assert again is not d
    assert copy.deepcopy([d]) == [{"x": 1}]
    assert copy.copy(d)["x"] == 1


def test_what_cannot_be_pickled_changes_nothing(manager):
    d, l, q = manager.dict(a=1), manager.list([1]), manager.Queue()
    for attempt in (
        lambda: d.update(b=threading.Lock()),
        lambda: l.append(threading.Lock()),
        lambda: q.put(threading.Lock()),
    ):
        with pytest.raises(TypeError, match="cannot pickle"):
            attempt()
    assert (d.copy(), l[:], q.qsize()) == ({"a": 1}, [1], 0)


def test_a_method_that_is_not_exposed(manager):
    with pytest.raises(managers.RemoteError, match=r"(?s)method 'nothing' of .* is not in exposed"):
        manager.dict()._callmethod("nothing")


def test_unfinished_tasks(manager):
    q = manager.Queue()
    q.put(1)
    q.put(2)
    waiting = threading.Thread(target=q.join)
    waiting.start()
    for _ in range(2):
        assert waiting.is_alive()
        q.get()
        q.task_done()
    waiting.join(20)
    assert not waiting.is_alive()
    with pytest.raises(ValueError, match="too many times"):
        q.task_done()


def test_a_queue_that_is_shut_down(manager):
    for q in (manager.Queue(), manager.JoinableQueue()):
        q.put(1)
        q.put(2)
        q.shutdown()
        assert q.get() == 1
        q.task_done()
        q.shutdown(immediate=True)
        with pytest.raises(procession.queues.ShutDown):
            q.get()
        q.join()


def test_nothing_is_left_in_the_arena(manager):
    manager.dict()
    before = _native.fsck()["objects"]
    nested = manager.dict(a=manager.list([manager.Queue()]))
    nested["a"][0].put(1)
    assert nested["a"][0].get() == 1
    del nested
    assert _native.fsck()["objects"] == before


# ---- in a server ----------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*multi-threaded")
def test_a_pool(manager):
    with manager.Pool(2) as pool:
        assert manager._process.is_alive()
        assert pool.map(abs, [-1, 2]) == [1, 2]
        assert sorted(pool.imap_unordered(abs, [-1, -2])) == [1, 2]
        assert pool.apply_async(abs, (-3,)).get() == 3


@pytest.mark.parametrize("method", METHODS)
def test_registered_types(method):
    with CounterManager(ctx=procession.get_context(method)) as manager:
        counter = manager.Counter(5)
        assert (counter.add(), counter.add(n=2)) == (6, 8)
        child = counter.child()
        assert (child.add(), counter.add(0)) == (9, 8)
        assert repr(child).startswith("<AutoProxy[Child] object, typeid 'Child' at 0x")
        assert not hasattr(counter, "_hidden")
        assert manager.Bare()._hidden() == "hidden"
        assert isinstance(manager.dict(), ArenaProxy)


def test_the_end_of_a_server(start):
    manager = CounterManager(ctx=fork)
    with pytest.raises(AssertionError, match="server not yet started"):
        manager.Counter()
    manager.start()
    with pytest.raises(procession.ProcessError, match="Already started server"):
        manager.start()
    counter, address = manager.Counter(), manager.address
    counter.add()
    server = manager._process
    manager.shutdown()
    manager.shutdown()
    assert server.exitcode == 0
    for attempt in (counter.add, manager.Counter, manager.dict):
        with pytest.raises(ManagerDiedError, match="shut down"):
            attempt()
    with pytest.raises(procession.ProcessError, match="Manager has shut down"):
        manager.start()
    with pytest.raises(ConnectionRefusedError):
        CounterManager(address).connect()
    assert str(counter).endswith("; '__str__()' failed>")


def test_the_end_of_one_without(start, eventually):
    manager = fork.Manager()
    d, q, event, barrier, condition = (
        manager.dict(), manager.Queue(), manager.Event(), manager.Barrier(2), manager.Condition(),
    )  # fmt: skip
    waiters = [start(fork, _waits, one) for one in (q, event, barrier, condition)]
    for waiter in waiters:
        eventually(lambda pid=waiter.pid: "futex" in pathlib.Path(f"/proc/{pid}/wchan").read_text())
    manager.shutdown()
    assert [finish(waiter) for waiter in waiters] == [7] * 4
    for attempt in (
        lambda: d["a"],
        lambda: d.update(a=1),
        lambda: len(d),
        q.get_nowait,
        event.set,
        manager.list,
    ):
        with pytest.raises(ManagerDiedError, match="has been shut down"):
            attempt()
    assert issubclass(ManagerDiedError, (EOFError, BrokenPipeError))


def _waits(proxy):
    try:
        if hasattr(proxy, "notify"):
            with proxy:
                proxy.wait()
        elif hasattr(proxy, "get"):
            proxy.get()
        else:
            proxy.wait()
    except ManagerDiedError:
        os._exit(7)


def test_an_address_is_given_to_who_asks(manager):
    assert manager._address is None
    address = manager.address
    assert address == manager.address
    client = managers.SyncManager(address, manager._authkey)
    client.connect()
    d = client.dict(a=1)
    assert (d.copy(), isinstance(d, ArenaProxy)) == ({"a": 1}, False)
    assert client._number_of_objects() == 1


def test_a_server_in_a_thread_of_ones_own():
    server = OnlyCounters(authkey=b"k").get_server()
    serving = threading.Thread(target=_serve, args=(server,))
    serving.start()
    client = OnlyCounters(server.address, b"k")
    client.connect()
    counter = client.Counter()
    assert counter.add() == 1
    with pytest.raises(managers.RemoteError, match="SystemExit: 3"):
        counter.leave()
    assert counter.add() == 2
    with pytest.raises(managers.RemoteError, match="Without callable, must have one non-keyword argument"):
        client.later()
    del counter
    client._request("shutdown")
    serving.join(20)
    assert not serving.is_alive()


def _serve(server):
    with pytest.raises(SystemExit):
        server.serve_forever()


def test_an_unregistered_type():
    with OnlyCounters(ctx=fork) as manager:
        with pytest.raises(
            managers.RemoteError, match="no type is registered here as 'dict'; registered: Counter, later"
        ):
            manager._create("dict")


def fail():
    raise LookupError("not here")


@pytest.mark.parametrize("method", METHODS[:2])
def test_what_keeps_a_server_from_starting(method):
    manager = procession.managers.SyncManager(ctx=procession.get_context(method))
    with pytest.raises(TypeError, match="initializer must be a callable"):
        manager.start(1)
    with pytest.raises(LookupError, match="not here") as raised:
        manager.start(fail)
    assert "in the manager's server" in raised.value.__notes__[0]
    with pytest.raises(OSError, match="Address already in use"), OnlyCounters(ctx=fork) as first:
        OnlyCounters(first.address, ctx=fork).start()


def test_an_initializer():
    with fork.Manager() as outer:
        started = outer.Event()
        with managers.SyncManager(ctx=fork) as _, CounterManager(ctx=fork) as manager:
            assert manager._process is not None
        manager = managers.SyncManager(ctx=fork)
        manager.start(started.set)
        assert started.is_set()
        manager.shutdown()


def test_a_wrong_key_is_refused_before_anything_is_unpickled():
    with OnlyCounters(authkey=b"right", ctx=fork) as manager:
        with pytest.raises(procession.AuthenticationError):
            OnlyCounters(manager.address, b"wrong").connect()
        assert manager.Counter().add() == 1


def test_references(start):
    with CounterManager(ctx=fork) as manager:
        counter = manager.Counter()
        assert manager._number_of_objects() == 1
        again = pickle.loads(pickle.dumps(counter))
        del counter
        assert (manager._number_of_objects(), again.add()) == (1, 1)
        assert finish(start(fork, _record_one, again)) == 0
        del again
        assert manager._number_of_objects() == 0


def _record_one(counter):
    assert counter.add() == 2


def test_an_interrupted_call_disturbs_none_after_it():
    with managers.SyncManager("\0procession-test-interrupted", ctx=fork) as manager:
        event = manager.Event()

        class Interrupt(Exception):
            pass

        def interrupt(*_):
            raise Interrupt

        import signal

        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(Interrupt):
                event.wait()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert event.is_set() is False
        event.set()
        assert event.is_set() is True


def test_remote_classes_are_the_standard_librarys_too():
    assert issubclass(managers.DictProxy, multiprocessing.managers.DictProxy)
    assert managers.RemoteError is multiprocessing.managers.RemoteError
    assert issubclass(managers.SyncManager, multiprocessing.managers.SyncManager)


def change_blocks(block, listed):
    assert type(block) is procession.shared_memory.SharedMemory
    block.buf[0] += 1
    listed[1] = "b"
    block.close()
    listed.shm.close()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_shared_memory_manager(start, method):
    ctx = procession.get_context(method)
    with managers.SharedMemoryManager(ctx=ctx) as manager:
        block, listed = manager.SharedMemory(10), manager.ShareableList([1, "a"])
        block.buf[0] = 7
        assert finish(start(ctx, change_blocks, block, listed)) == 0
        assert (block.buf[0], listed[1]) == (8, "b")
        names = [block.name, listed.shm.name]
        assert manager._request("list_segments") == names
        block.close()
        listed.shm.close()
    for name in names:
        with pytest.raises(FileNotFoundError):
            procession.shared_memory.SharedMemory(name)


def wait_for_it(what, there):
    there.put(None)
    with (
        pytest.raises(procession.errors.ManagerDiedError),
        what if hasattr(what, "notify") else contextlib.nullcontext(),
    ):
        (what.join if hasattr(what, "join") else what.wait)()


def with_an_item(q):
    q.put(1)
    return q


WAITED_FOR = {
    "Event": lambda manager: manager.Event(),
    "Condition": lambda manager: manager.Condition(),
    "Barrier": lambda manager: manager.Barrier(2),
    "Queue": lambda manager: with_an_item(manager.Queue()),
    "JoinableQueue": lambda manager: with_an_item(manager.JoinableQueue()),
}


@pytest.mark.parametrize("kind", WAITED_FOR)
def test_who_waits_hears_of_the_shutdown_also_when_nobody_else_has_the_object(kind, start):
    """Nobody but the waiter: starting it was the last that its parent had of the proxy."""
    there = procession.SimpleQueue()
    with procession.Manager() as manager:
        child = start(procession.get_context("spawn"), wait_for_it, WAITED_FOR[kind](manager), there)
        there.get()
    assert finish(child) == 0
