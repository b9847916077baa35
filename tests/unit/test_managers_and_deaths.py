"""Managers whose servers, creators and clients are killed, and servers that are pestered."""

import contextlib
import os
import pathlib
import select
import signal
import socket
import threading

import pytest
from children import finish

import procession
from procession import managers
from procession._serve.strangers import MOST
from procession._serve.tenants import Tenants
from procession.errors import ManagerDiedError, OwnerDiedWarning

pytestmark = pytest.mark.crash
fork = procession.get_context("fork")


def kill(child):
    os.kill(child.pid, signal.SIGKILL)
    assert finish(child) == -signal.SIGKILL


@pytest.fixture
def served():
    """A manager all of whose objects are in a server."""
    with managers.SyncManager(f"\0procession-test-{os.urandom(4).hex()}", ctx=fork) as made:
        yield made


def make_and_sleep(to):
    manager = fork.Manager()
    d, lock = manager.dict(made=True), manager.Lock()
    lock.acquire()
    to.put((d, lock, manager.Queue()))
    signal.pause()


def test_the_creator_is_killed(start):
    to = fork.Queue()
    creator = start(fork, make_and_sleep, to)
    d, lock, q = to.get()
    kill(creator)
    d["more"] = 1
    q.put(d)
    assert q.get().copy() == {"made": True, "more": 1}
    with pytest.warns(OwnerDiedWarning):
        assert lock.acquire(timeout=20)


def change_for_ever(d, gate):
    gate.open()
    while True:
        d["k"] = d["k"] + 1


def test_a_client_is_killed_in_a_change(start, gate):
    with fork.Manager() as manager:
        d, begun = manager.dict(k=0), gate()
        client = start(fork, change_for_ever, d, begun)
        begun.wait()
        kill(client)
        before = d["k"]
        d["k"] += 1
        assert d["k"] == before + 1


def hold(lock, gate):
    lock.acquire()
    gate.open()
    signal.pause()


def test_a_client_is_killed_with_a_recursive_lock_of_a_server(served, start, gate):
    lock, has_it = served.RLock(), gate()
    client = start(fork, hold, lock, has_it)
    has_it.wait()
    assert not lock.acquire(False)
    kill(client)
    assert lock.acquire(timeout=20)
    lock.release()


def test_a_client_is_killed_while_it_waits_for_a_lock_of_a_server(served, start, eventually):
    lock = served.Lock()
    lock.acquire()
    threads = threads_of(served)
    client = start(fork, lock.acquire)
    eventually(lambda: threads_of(served) > threads)
    kill(client)
    lock.release()
    assert lock.acquire(timeout=20)
    lock.release()


class Watched:
    """Tells when it is freed, in the server's process."""

    def __init__(self, path):
        self.path = path

    def __del__(self):
        pathlib.Path(self.path).touch()

    def ping(self):
        return os.getpid()


class Keeper(managers.SyncManager):
    pass


Keeper.register("Watched", Watched)


def keep(manager, path, others, gate):
    kept = [manager.Watched(path), *(manager.list() for _ in range(3)), others]
    gate.open()
    signal.pause()
    del kept


def test_a_client_that_refers_to_objects_of_a_server_is_killed(start, gate, eventually, tmp_path):
    with Keeper(f"\0procession-test-{os.urandom(4).hex()}", ctx=fork) as manager:
        shared, path = manager.dict(), tmp_path / "freed"
        clients = []
        for _ in range(2):
            has_them = gate()
            clients.append(start(fork, keep, manager, str(path), shared, has_them))
            has_them.wait()
        descriptors = descriptors_of(manager)
        assert manager._number_of_objects() == 1 + 2 * 4
        kill(clients[0])
        eventually(lambda: manager._number_of_objects() == 1 + 4)
        assert path.exists()
        kill(clients[1])
        eventually(lambda: manager._number_of_objects() == 1)
        eventually(lambda: descriptors_of(manager) < descriptors)
        shared["still"] = "there"
        assert shared.copy() == {"still": "there"}
        passed = fork.SimpleQueue()
        heir = start(fork, lambda: passed.put(shared))
        assert passed.get()["still"] == "there"
        assert finish(heir) == 0


def test_a_dead_client_is_watched_no_more_though_a_fork_has_its_descriptor(
    start, gate, eventually, monkeypatch
):
    """A server's own children (of a pool in it, for one) have a copy of what it watches clients by."""
    freed, has_come, polls, make_poll = [], gate(), [], select.poll
    monkeypatch.setattr(select, "poll", lambda: polls.append(make_poll()) or polls[-1])
    tenants = Tenants(freed.append)
    ours, theirs = socket.socketpair()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0procession-test-{os.urandom(4).hex()}")
    listener.listen()

    def be_a_client():
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(listener.getsockname())
            has_come.open()
            signal.pause()

    with ours, theirs, listener:
        client = start(fork, be_a_client)
        has_come.wait()
        line, _ = listener.accept()
        with line:
            tenants.note(line.fileno(), "7f03")
        heir = start(fork, ours.recv, 1)
        kill(client)
        eventually(lambda: freed == ["7f03"])
        before = len(polls)
        theirs.send(b".")
        assert finish(heir) == 0
        assert len(polls) <= before + 1, "the watch does not sleep"
        tenants.close()


def test_a_reference_that_another_process_gives_back(served, start, eventually):
    """A client with a way of counting of its own: nothing is freed that somebody may have."""
    here = served.list([1])
    dispatch = managers.dispatch

    def give_back():
        with served._Client(served.address, authkey=served._authkey) as line:
            dispatch(line, None, "incref", (here._id,))
        os._exit(0)

    def take():
        with served._Client(served.address, authkey=served._authkey) as line:
            dispatch(line, None, "decref", (here._id,))
        os._exit(0)

    with served._Client(served.address, authkey=served._authkey) as line:
        dispatch(line, None, "incref", (here._id,))
    assert finish(start(fork, take)) == 0
    assert finish(start(fork, give_back)) == 0
    assert here[:] == [1]
    eventually(lambda: served._number_of_objects() == 1)


def test_the_server_is_killed(served):
    event, d = served.Event(), served.dict()
    waiting, came = threading.Event(), []

    def wait():
        event.is_set()
        waiting.set()
        with pytest.raises(ManagerDiedError, match="has ended, or was shut down") as raised:
            event.wait()
        came.append(raised.type)

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.wait()
    served._process.kill()
    thread.join(20)
    assert came == [ManagerDiedError]
    for attempt in (event.is_set, lambda: d["a"], lambda: len(d), served.list, served._number_of_objects):
        with pytest.raises(ManagerDiedError, match="has ended, or was shut down"):
            attempt()


def test_the_server_is_killed_before_it_serves():
    manager = managers.SyncManager(ctx=fork)
    with pytest.raises(ManagerDiedError, match="ended before it could serve"):
        manager.start(os._exit, (3,))


def test_a_server_goes_with_its_creator(family):
    name = f"procession-test-{os.getpid()}"
    scene = family("fork", "a_manager", name)
    server, worker = scene["server"], scene["worker"]
    assert server.lives()
    scene.kill_main()
    assert server.is_gone()
    assert worker.is_gone()
    with socket.socket(socket.AF_UNIX) as line, pytest.raises(ConnectionRefusedError):
        line.connect("\0" + name)


def threads_of(manager):
    return len(list(pathlib.Path(f"/proc/{manager._process.pid}/task").iterdir()))


def descriptors_of(manager):
    return len(list(pathlib.Path(f"/proc/{manager._process.pid}/fd").iterdir()))


GARBAGE = [b"", b"GET / HTTP/1.0\r\n\r\n", b"\xff" * 1000, b"\0\0\0\x14" + b"x" * 20, b"\x7f\xff\xff\xff"]


def test_garbage_neither_stops_nor_grows_a_server(eventually):
    with managers.SyncManager(("127.0.0.1", 0), ctx=fork) as manager:
        d = manager.dict(a=1)
        assert d["a"] == 1
        threads, descriptors = threads_of(manager), descriptors_of(manager)
        with contextlib.ExitStack() as lines:
            for number in range(3 * MOST):
                line = lines.enter_context(socket.create_connection(manager.address))
                with contextlib.suppress(ConnectionError):
                    line.sendall(GARBAGE[number % len(GARBAGE)])
                if number % 50 == 49:
                    assert manager.list([number])[:] == [number]
            eventually(lambda: threads_of(manager) <= threads + MOST)
            eventually(lambda: descriptors_of(manager) <= descriptors + MOST)
            assert d["a"] == 1
        eventually(lambda: threads_of(manager) <= threads)
        eventually(lambda: descriptors_of(manager) <= descriptors)


def test_who_knows_no_key_is_not_listened_to(tmp_path):
    """A pickle that would make a file is sent in the place of an answer."""

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    with managers.SyncManager(("127.0.0.1", 0), b"key", ctx=fork) as manager:
        with socket.create_connection(manager.address) as line:
            connection = procession.connection.Connection(os.dup(line.fileno()))
            with connection:
                assert connection.recv_bytes().startswith(b"#CHALLENGE#")
                connection.send(Evil())
                with contextlib.suppress(EOFError, ConnectionError):
                    while connection.recv_bytes() != b"":
                        pass
        assert manager.dict(a=1)["a"] == 1
    assert list(tmp_path.iterdir()) == []


def test_after_the_shutdown_nothing_answers(served):
    address = served.address
    served.shutdown()
    with pytest.raises(ConnectionRefusedError):
        managers.SyncManager(address).connect()
