"""Connections when somebody is killed, stopped or interrupted, and when many use the same end."""

import array
import collections
import contextlib
import fcntl
import multiprocessing.connection
import os
import pickle
import signal
import socket
import struct
import termios
import threading
import time
from multiprocessing import resource_sharer

import pytest
from children import PATIENCE, finish

import procession
from procession import AuthenticationError, TornMessageError, _native
from procession.connection import Client, Connection, Listener, wait

fork = procession.get_context("fork")
BIG = 10_000_000  # bytes; no pipe or socket holds as many


@pytest.fixture(params=[True, False], ids=["duplex", "simplex"])
def pipe(request):
    one, other = procession.Pipe(request.param)
    with one, other:
        yield one, other


def kill(child):
    os.kill(child.pid, signal.SIGKILL)
    assert finish(child) == -signal.SIGKILL


def unread(connection):
    """Bytes that lie in a pipe or socket."""
    into = array.array("i", [0])
    fcntl.ioctl(connection.fileno(), termios.FIONREAD, into)
    return into[0]


def die_sending(start, reader, writer):
    """A process is killed in the middle of a message."""
    before = unread(reader)
    child = start(fork, writer.send_bytes, bytes(BIG))
    while unread(reader) == before:
        assert child.is_alive()
    kill(child)
    return child.pid


def die_receiving(start, eventually, reader, writer):
    """A process is killed when it has read a part of a message."""
    child = start(fork, reader.recv_bytes)
    os.write(writer.fileno(), struct.pack("!i", 1000) + b"part")
    eventually(lambda: unread(reader) == 0)
    kill(child)
    return child.pid


class TestDeathOfASender:
    def test_nobody_waits_for_the_rest(self, start, pipe):
        reader, writer = pipe
        writer.send("whole")
        pid = die_sending(start, reader, writer)
        assert reader.recv() == "whole"
        with pytest.raises(
            TornMessageError, match=rf"^torn message: process {pid} stopped in the middle of it"
        ):
            reader.recv_bytes()
        assert reader.poll(None)
        assert wait([reader]) == [reader]
        for _ in range(2):
            with pytest.raises(EOFError, match=f"^torn message: process {pid} "):
                reader.recv()

    def test_nothing_can_follow(self, start, pipe):
        reader, writer = pipe
        pid = die_sending(start, reader, writer)
        for message in (b"short", bytes(BIG)):
            with pytest.raises(BrokenPipeError, match=rf"process {pid} stopped"):
                writer.send_bytes(message)

    def test_one_who_reads_already(self, start, pipe):
        reader, writer = pipe
        child = start(fork, writer.send_bytes, bytes(BIG))
        assert reader.poll(PATIENCE)
        os.kill(child.pid, signal.SIGSTOP)
        threading.Timer(0.2, os.kill, (child.pid, signal.SIGKILL)).start()
        with pytest.raises(TornMessageError):
            reader.recv_bytes()
        assert finish(child) == -signal.SIGKILL

    def test_a_stopped_one_is_not_dead(self, start, pipe):
        reader, writer = pipe
        child = start(fork, writer.send_bytes, bytes(BIG))
        assert reader.poll(PATIENCE)
        os.kill(child.pid, signal.SIGSTOP)
        threading.Timer(0.3, os.kill, (child.pid, signal.SIGCONT)).start()
        assert reader.recv_bytes() == bytes(BIG)
        assert finish(child) == 0
        writer.send("more")
        assert reader.recv() == "more"

    def test_between_messages(self, start, pipe, gate):
        reader, writer = pipe
        sent = gate()

        def die():
            writer.send("last words")
            sent.open()
            time.sleep(PATIENCE)

        child = start(fork, die)
        sent.wait()
        kill(child)
        writer.send("goes on")
        assert [reader.recv(), reader.recv()] == ["last words", "goes on"]

    def test_the_other_direction_lives(self, start):
        here, there = procession.Pipe()
        with here, there:
            die_sending(start, here, there)
            here.send("still")
            assert there.recv() == "still"

    def test_swept_before_anybody_looks(self, start, pipe):
        reader, writer = pipe
        die_sending(start, reader, writer)
        _native.sweep()
        with pytest.raises(TornMessageError):
            reader.recv_bytes()

    @pytest.mark.parametrize("size", [1, 1500])
    def test_short_messages_are_sent_whole_or_not_at_all(self, start, pipe, size):
        reader, writer = pipe

        def send_for_ever():
            while True:
                writer.send_bytes(bytes(size))

        for count in range(10):
            child = start(fork, send_for_ever)
            for _ in range(count * 20):
                assert reader.recv_bytes() == bytes(size)
            kill(child)
            while reader.poll():
                assert reader.recv_bytes() == bytes(size)
        writer.send("the last one")
        assert reader.recv() == "the last one"


class TestDeathOfAReceiver:
    def test_the_rest_is_nobodys_message(self, start, eventually, pipe):
        reader, writer = pipe
        pid = die_receiving(start, eventually, reader, writer)
        os.write(writer.fileno(), bytes(996))
        with pytest.raises(TornMessageError, match=rf"process {pid} stopped"):
            reader.recv_bytes()

    def test_senders_do_not_wait(self, start, eventually, pipe):
        reader, writer = pipe
        pid = die_receiving(start, eventually, reader, writer)
        with pytest.raises(BrokenPipeError, match=rf"process {pid} stopped"):
            writer.send_bytes(bytes(BIG))

    def test_waiting_for_a_message(self, start, gate, pipe):
        reader, writer = pipe
        about = gate()

        def receive():
            about.open()
            reader.recv()

        child = start(fork, receive)
        about.wait()
        time.sleep(0.02)  # most times it waits by then; it makes no difference
        kill(child)
        writer.send("for the next one")
        assert reader.recv() == "for the next one"

    def test_in_a_loop(self, start, pipe):
        """Whoever is killed while it receives takes one message along, or ends the direction; nobody hangs."""
        reader, writer = pipe

        def receive_for_ever():
            while True:
                reader.recv_bytes()

        for _ in range(10):
            child = start(fork, receive_for_ever)
            try:
                for size in (1, 100, 5000) * 20:
                    writer.send_bytes(bytes(size))
                kill(child)
                while reader.poll():
                    assert not any(reader.recv_bytes())
            except (TornMessageError, BrokenPipeError) as torn:
                assert str(child.pid) in str(torn)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGKILL)
                child.join()
                return


class TestManyAtOneEnd:
    def test_messages_stay_whole(self, start, pipe):
        reader, writer = pipe
        sizes, rounds, senders = (1, 300, 5000, 70_000, 300_000), 8, 3
        heard, tell = fork.Pipe(False)

        def send(name):
            def some():
                for _ in range(rounds):
                    for size in sizes:
                        writer.send_bytes(bytes([name]) * size)

            threads = [threading.Thread(target=some) for _ in range(2)]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]

        def receive():
            counts = collections.Counter()
            while (message := reader.recv_bytes()) != b"":
                assert message.count(message[:1]) == len(message)
                counts[message[0], len(message)] += 1
            tell.send(counts)

        receivers = [start(fork, receive) for _ in range(2)]
        children = [start(fork, send, name) for name in range(senders)]
        assert [finish(child) for child in children] == [0] * senders
        for _ in receivers:
            writer.send_bytes(b"")
        with heard, tell:
            counts = heard.recv() + heard.recv()
        assert [finish(child) for child in receivers] == [0, 0]
        assert counts == {(name, size): 2 * rounds for name in range(senders) for size in sizes}

    def test_an_end_that_travelled_takes_turns_too(self, start, pipe):
        reader, writer = pipe
        pinned = _native.fsck()["pinned"]
        copy = pickle.loads(pickle.dumps(writer))
        resource_sharer.stop(PATIENCE)
        with copy:
            assert (copy._side, copy._object()) == (writer._side, writer._object())
            pid = die_sending(start, reader, copy)
            with pytest.raises(BrokenPipeError, match=str(pid)):
                writer.send(1)
        assert _native.fsck()["pinned"] == pinned


class TestInterruptions:
    def test_a_handler_uses_the_connection(self, pipe):
        reader, writer = pipe
        got = []
        before = signal.signal(signal.SIGUSR1, lambda *_: (writer.send("inner"), got.append(reader.recv())))
        try:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            threading.Timer(0.3, writer.send, ("outer",)).start()
            assert reader.recv() == "outer"
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert got == ["inner"]

    def test_a_message_torn_meanwhile(self, pipe):
        """Who waits for a message hears that another has torn one, not that the connection has ended."""
        reader, writer = pipe

        def tear(*_):
            os.write(writer.fileno(), struct.pack("!i", 10) + b"half")
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(TimeoutError, match="too late"):
                reader.recv_bytes()

        def be_late(*_):
            raise TimeoutError("too late")

        before = [signal.signal(signal.SIGUSR1, tear), signal.signal(signal.SIGALRM, be_late)]
        try:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            with pytest.raises(TornMessageError, match=f"process {os.getpid()} stopped"):
                reader.recv_bytes()
        finally:
            signal.signal(signal.SIGUSR1, before[0])
            signal.signal(signal.SIGALRM, before[1])

    @pytest.mark.parametrize("act", ["recv", "poll"])
    def test_ctrl_c_ends_a_wait(self, pipe, act, capfd):
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            pipe[0].poll(None) if act == "poll" else pipe[0].recv()
        assert "s for a message from a Connection" in capfd.readouterr().err
        pipe[1].send("after it")
        assert pipe[0].recv() == "after it"

    def test_ctrl_c_in_the_middle_of_a_message(self, pipe):
        reader, writer = pipe
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            writer.send_bytes(bytes(BIG))
        with pytest.raises(BrokenPipeError, match=f"process {os.getpid()} stopped"):
            writer.send(1)
        with pytest.raises(TornMessageError):
            reader.recv_bytes()

    def test_the_same_thread_again(self, pipe):
        reader, writer = pipe
        os.write(writer.fileno(), struct.pack("!i", 10) + b"12345")
        errors = []

        def again(*_):
            try:
                reader.recv()
            except RuntimeError as error:
                errors.append(str(error))
            os.write(writer.fileno(), b"67890")

        before = signal.signal(signal.SIGUSR1, again)
        try:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            assert reader.recv_bytes() == b"1234567890"
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert errors == ["reentrant call: this thread is in the middle of a message on this connection"]


class TestBadInput:
    @pytest.mark.parametrize("header", [struct.pack("!i", -2), struct.pack("!iQ", -1, 2**64 - 1)])
    def test_lengths_that_cannot_be(self, pipe, header):
        reader, writer = pipe
        os.write(writer.fileno(), header)
        with pytest.raises(OSError, match="bad message length"):
            reader.recv_bytes()

    def test_a_length_without_bytes_takes_no_memory(self, pipe):
        reader, writer = pipe
        os.write(writer.fileno(), struct.pack("!iQ", -1, 1 << 30) + b"x")
        writer.close()
        before = resident()
        with pytest.raises((TornMessageError, MemoryError)):
            reader.recv_bytes()
        assert resident() - before < 64 << 20

    def test_garbage_instead_of_a_pickle(self, pipe):
        reader, writer = pipe
        writer.send_bytes(b"\xff garbage")
        with pytest.raises(pickle.UnpicklingError):
            reader.recv()
        writer.send(1)
        assert reader.recv() == 1

    def test_bytes_with_gaps(self, pipe):
        pipe[1].send_bytes(memoryview(b"a-b-c")[::2])
        assert pipe[0].recv_bytes() == b"abc"


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


class TestListener:
    @pytest.fixture
    def listener(self):
        with Listener(("127.0.0.1", 0), authkey=b"key") as listening:
            yield listening

    def knock(self, listener, data):
        """Somebody connects, says this and stays."""
        stranger = socket.create_connection(listener.address)
        stranger.sendall(data)
        return stranger

    @pytest.mark.parametrize("data", [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack("!i", 2**31 - 1) + b"x" * 100_000,
        struct.pack("!iQ", -1, 2**62),
        struct.pack("!i", 16) + bytes(16),
        struct.pack("!i", 257) + bytes(257),
        struct.pack("!i", 0),
    ])  # fmt: skip
    def test_garbage_is_refused(self, listener, data):
        before = resident()
        with self.knock(listener, data), pytest.raises((AuthenticationError, OSError)):
            listener.accept()
        assert resident() - before < 64 << 20
        self.still_works(listener)

    def test_a_pickle_is_not_loaded(self, listener):
        bomb = pickle.dumps(Bomb())
        with self.knock(listener, struct.pack("!i", len(bomb)) + bomb), pytest.raises(AuthenticationError):
            listener.accept()
        assert not Bomb.went_off

    def test_silence_is_not_waited_for(self, listener, monkeypatch):
        monkeypatch.setattr(multiprocessing.connection, "CONNECTION_TIMEOUT", 0.2)
        for data in (b"", b"\0\0"):
            with (
                self.knock(listener, data),
                pytest.raises(AuthenticationError, match="did not answer in time"),
            ):
                listener.accept()
        self.still_works(listener)

    def test_one_who_leaves(self, listener):
        self.knock(listener, b"").close()
        with pytest.raises((EOFError, OSError)):
            listener.accept()
        self.still_works(listener)

    def test_an_empty_key_is_a_key(self):
        with Listener(authkey=b"") as listener:
            self.still_works(listener, b"")

    def still_works(self, listener, authkey=b"key"):
        serving = threading.Thread(target=lambda: listener.accept().send("welcome"))
        serving.start()
        with Client(listener.address, authkey=authkey) as client:
            assert client.recv() == "welcome"
        serving.join()


class Bomb:
    went_off = False

    def __reduce__(self):
        return setattr, (Bomb, "went_off", True)


class TestWait:
    def test_processes_and_queues_together(self, start, gate):
        go = gate()
        reader, writer = procession.Pipe(False)
        queue = fork.SimpleQueue()
        child = start(fork, go.wait)
        with reader, writer:
            source = queue._reader
            kinds = [reader, source, child]
            assert wait(kinds, 0) == []
            queue.put(1)
            assert wait(kinds) == [source]
            go.open()
            assert wait([child], PATIENCE) == [child]
            assert set(map(id, wait(kinds))) == {id(source), id(child)}
        queue.close()

    def test_a_process_beside_its_sentinel(self, start, gate):
        """They have one descriptor between them, and end together."""
        go = gate()
        child, other = start(fork, go.wait), start(fork, time.sleep, 0)
        both = [child.sentinel, child, other, other.sentinel]
        assert set(map(id, wait([child, child.sentinel], 0))) == set()
        other.join()
        assert wait(both) == [other, other.sentinel]
        go.open()
        child.join()
        assert set(map(id, wait(both))) == set(map(id, both))

    def test_a_torn_message_wakes(self, start, pipe):
        reader, writer = pipe
        child = start(fork, writer.send_bytes, bytes(BIG))
        assert reader.poll(PATIENCE)
        while unread(reader):  # what is there is taken: the descriptor says nothing any more
            os.read(reader.fileno(), 1 << 20)
            if unread(reader) == 0:
                os.kill(child.pid, signal.SIGSTOP)
                time.sleep(0.01)
        kill(child)
        assert wait([reader], PATIENCE) == [reader]
        assert reader.poll()


def test_it_is_the_standard_librarys_connection_too(pipe):
    assert isinstance(pipe[0], multiprocessing.connection.Connection)
    assert isinstance(pipe[0], Connection)
    assert issubclass(TornMessageError, OSError)
    assert issubclass(TornMessageError, EOFError)


class TestRoomOfPipes:
    def test_it_grows_with_a_message_that_does_not_fit(self):
        reader, writer = procession.Pipe(False)
        with reader, writer:
            before = fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ)
            writer.send_bytes(bytes(before // 2))
            assert fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ) == before
            assert reader.recv_bytes() == bytes(before // 2)
            writer.send_bytes(b"a" * 3 * before)  # nobody reads: there is room for all of it
            assert reader.recv_bytes() == b"a" * 3 * before

    def test_a_size_that_somebody_chose_stays(self, start):
        reader, writer = procession.Pipe(False)
        with reader, writer:
            chosen = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 32 << 10)
            child = start(fork, writer.send_bytes, bytes(BIG))
            assert reader.recv_bytes() == bytes(BIG)
            assert finish(child) == 0
            assert fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ) == chosen
