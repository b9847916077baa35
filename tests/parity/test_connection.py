"""Connections, pipes, listeners and wait(), on both implementations."""

import array
import os
import socket
import threading
import time
from importlib import import_module
from queue import Queue as ThreadQueue

import pytest
from children import PATIENCE, finish


@pytest.fixture(params=[True, False], ids=["duplex", "simplex"])
def pipe(ctx, request):
    one, other = ctx.Pipe(request.param)
    with one, other:
        yield one, other


@pytest.fixture
def connection(mp):
    return import_module(f"{mp.__name__}.connection")


VALUES = [None, True, False, 0, 1, 255, 256, 65535, 65536, -1, -(2**31), 2**31, -(2**63), 2**63, 10**40]
VALUES += [0.0, -2.5, float("inf"), "", "ascii", "ünïcödé", "\ud800", "x" * 255, "y" * 256, "z" * 70_000]
VALUES += [b"", b"\0", b"a" * 255, b"b" * 256, b"c" * 100_000, [1, "two", {3: (4.0,)}], (), {"a": {1, 2}}]


class TestMessages:
    def test_objects(self, pipe):
        reader, writer = pipe
        sending = threading.Thread(target=lambda: [writer.send(value) for value in VALUES])
        sending.start()
        received = [reader.recv() for _ in VALUES]
        sending.join()
        assert received == VALUES
        assert list(map(type, received)) == list(map(type, VALUES))

    def test_bytes_of_any_kind(self, pipe):
        reader, writer = pipe
        kinds = [b"bytes", bytearray(b"array"), memoryview(b"view"), array.array("i", [1, 2]), b""]
        for message in kinds:
            writer.send_bytes(message)
            assert reader.recv_bytes() == memoryview(message).tobytes()

    def test_parts(self, pipe):
        reader, writer = pipe
        for arguments in [(2,), (2, 3), (0, 0), (6,), (6, 0)]:
            writer.send_bytes(b"abcdef", *arguments)
            offset, size = (*arguments, None)[:2]
            assert reader.recv_bytes() == b"abcdef"[offset : None if size is None else offset + size]

    @pytest.mark.parametrize(("arguments", "text"), [
        ((-1,), "offset is negative"),
        ((7,), "buffer length < offset"),
        ((0, -1), "size is negative"),
        ((4, 3), r"buffer length < offset \+ size"),
    ])  # fmt: skip
    def test_parts_that_are_not_there(self, pipe, arguments, text):
        with pytest.raises(ValueError, match=f"^{text}$"):
            pipe[1].send_bytes(b"abcdef", *arguments)

    def test_what_is_no_bytes(self, pipe):
        with pytest.raises(TypeError, match="a bytes-like object is required, not 'str'"):
            pipe[1].send_bytes("text")
        pipe[1].send_bytes(b"x")
        with pytest.raises(TypeError):
            pipe[0].recv_bytes_into(b"read-only")

    def test_into_a_buffer(self, pipe, mp):
        reader, writer = pipe
        room = bytearray(10)
        writer.send_bytes(b"abc")
        assert reader.recv_bytes_into(room) == 3
        writer.send_bytes(b"def")
        assert reader.recv_bytes_into(room, 3) == 3
        assert room == b"abcdef" + bytes(4)
        numbers = array.array("i", [0, 0])
        writer.send_bytes(array.array("i", [7]))
        assert reader.recv_bytes_into(numbers, 4) == 4
        assert list(numbers) == [0, 7]
        writer.send_bytes(b"more than fits")
        with pytest.raises(mp.BufferTooShort) as error:
            reader.recv_bytes_into(room)
        assert error.value.args == (b"more than fits",)
        for offset, text in [(-1, "negative offset"), (11, "offset too large")]:
            writer.send_bytes(b"")
            with pytest.raises(ValueError, match=text):
                reader.recv_bytes_into(room, offset)

    def test_too_long(self, pipe):
        reader, writer = pipe
        with pytest.raises(ValueError, match="negative maxlength"):
            reader.recv_bytes(-1)
        writer.send_bytes(b"abc")
        assert reader.recv_bytes(3) == b"abc"
        writer.send_bytes(b"abcd")
        was_writable = reader.writable
        with pytest.raises(OSError, match="^bad message length$"):
            reader.recv_bytes(3)
        assert (reader.closed, reader.readable) == (not was_writable, not was_writable)

    def test_unpicklable(self, pipe):
        reader, writer = pipe
        with pytest.raises(TypeError, match="cannot pickle '_thread.lock' object"):
            writer.send(threading.Lock())
        writer.send("after it")
        assert reader.recv() == "after it"

    def test_many_megabytes(self, pipe, ctx, start):
        reader, writer = pipe
        message = os.urandom(1 << 20) * 8
        child = start(ctx, writer.send_bytes, message)
        assert reader.recv_bytes() == message
        assert finish(child) == 0


class TestState:
    def test_directions(self, ctx):
        reader, writer = ctx.Pipe(duplex=False)
        with reader, writer:
            assert (reader.readable, reader.writable) == (True, False)
            assert (writer.readable, writer.writable) == (False, True)
            for act in (lambda: reader.send(1), lambda: reader.send_bytes(b"")):
                with pytest.raises(OSError, match="^connection is read-only$"):
                    act()
            for act in (
                writer.recv,
                writer.recv_bytes,
                writer.poll,
                lambda: writer.recv_bytes_into(bytearray()),
            ):
                with pytest.raises(OSError, match="^connection is write-only$"):
                    act()

    def test_closed(self, pipe):
        one = pipe[0]
        one.close()
        one.close()
        assert one.closed
        for act in (
            one.recv,
            one.fileno,
            one.poll,
            lambda: one.send(1),
            one.recv_bytes,
            one.__enter__().recv,
        ):
            with pytest.raises(OSError, match="^handle is closed$"):
                act()

    def test_the_other_end_is_closed(self, pipe):
        reader, writer = pipe
        writer.send("last")
        writer.close()
        assert reader.poll()
        assert reader.recv() == "last"
        assert reader.poll()
        with pytest.raises(EOFError) as error:
            reader.recv()
        assert (type(error.value), error.value.args) == (EOFError, ())

    def test_nobody_reads(self, pipe):
        reader, writer = pipe
        reader.close()
        with pytest.raises(BrokenPipeError):
            writer.send(1)

    def test_half_a_message_and_the_end(self, pipe):
        reader, writer = pipe
        os.write(writer.fileno(), b"\0\0\0\x05abc")
        writer.close()
        with pytest.raises(OSError, match="end"):  # ours is an EOFError, too
            reader.recv_bytes()

    def test_by_a_descriptor(self, connection):
        ends = os.pipe()
        reader = connection.Connection(ends[0], writable=False)
        writer = connection.Connection(handle=ends[1], readable=False)
        with reader, writer:
            assert (reader.fileno(), reader._handle) == (ends[0], ends[0])
            writer.send("text")
            assert reader.recv() == "text"

    def test_bad_arguments(self, connection):
        with pytest.raises(ValueError, match="^invalid handle$"):
            connection.Connection(-5)
        with pytest.raises(ValueError, match="at least one of `readable` and `writable` must be True"):
            connection.Connection(0, False, False)
        with pytest.raises((TypeError, AttributeError)):
            connection.Connection("0")

    def test_dropped(self, ctx):
        reader, writer = ctx.Pipe()
        with reader:
            del writer
            with pytest.raises(EOFError):
                reader.recv()

    def test_a_handle_that_is_taken_away(self, ctx):
        reader, writer = ctx.Pipe(False)
        descriptor, reader._handle = reader._handle, None
        assert reader.closed
        writer.send_bytes(b"abc")
        writer.close()
        assert os.read(descriptor, 100) == b"\0\0\0\x03abc"
        os.close(descriptor)

    def test_a_descriptor_that_does_not_block(self, ctx):
        reader, writer = ctx.Pipe(False)
        with reader, writer:
            os.set_blocking(reader.fileno(), False)
            with pytest.raises(BlockingIOError):
                reader.recv()

    def test_subclasses_that_do_the_inner_work(self, connection):
        class Loud(connection.Connection):
            def _send_bytes(self, buf):
                super()._send_bytes(bytes(buf).upper())

        ends = os.pipe()
        with (
            connection.Connection(ends[0], writable=False) as reader,
            Loud(ends[1], readable=False) as writer,
        ):
            writer.send_bytes(b"quiet")
            assert reader.recv_bytes() == b"QUIET"


class TestPoll:
    def test_nothing_yet(self, pipe):
        reader, _ = pipe
        assert not any(reader.poll(*timeout) for timeout in [(), (0,), (-1,), (0.001,), (0.0,)])

    @pytest.mark.parametrize("timeout", [(), (0,), (-3,), (5,), (None,)])
    def test_something(self, pipe, timeout):
        reader, writer = pipe
        writer.send(1)
        assert reader.poll(*timeout) is True

    def test_something_comes(self, pipe):
        reader, writer = pipe
        threading.Timer(0.05, writer.send, (1,)).start()
        assert reader.poll(None)

    @pytest.mark.parametrize("timeout", ["1", [], b""])
    def test_what_is_no_timeout(self, pipe, timeout):
        with pytest.raises(TypeError):
            pipe[0].poll(timeout)


class TestWait:
    def test_kinds(self, connection, ctx, start, pipe):
        reader, writer = pipe
        one, other = socket.socketpair()
        ends = os.pipe()
        child = start(ctx, time.sleep, 0)
        with one, other:
            kinds = [reader, one, ends[0], child.sentinel]
            child.join()
            assert connection.wait(kinds) == [child.sentinel]
            writer.send(1)
            other.send(b".")
            os.write(ends[1], b".")
            assert sorted(map(kinds.index, connection.wait(kinds, 5))) == [0, 1, 2, 3]
        for end in ends:
            os.close(end)

    def test_a_timeout(self, connection, pipe):
        for timeout in (0, 0.01, -1):
            assert connection.wait([pipe[0]], timeout) == []
        assert connection.wait([], 0) == []

    def test_the_same_twice(self, connection, pipe):
        with pytest.raises(KeyError, match="already registered"):
            connection.wait([pipe[0], pipe[0]], 0)

    def test_no_number_is_no_timeout(self, connection, mp):
        here, there = mp.Pipe()
        with here, there, pytest.raises(ValueError, match="NaN"):
            connection.wait([here], float("nan"))

    def test_what_cannot_be_waited_for(self, connection):
        with pytest.raises(ValueError, match="Invalid file object"):
            connection.wait([object()], 0)


class TestListener:
    FAMILIES = ("AF_INET", "AF_UNIX", None)

    def serve(self, listener, results):
        try:
            with listener.accept() as accepted:
                accepted.send(accepted.recv() * 2)
            results.put(None)
        except Exception as error:
            results.put(error)

    def meet(self, connection, listener, **options):
        results = ThreadQueue()
        server = threading.Thread(target=self.serve, args=(listener, results))
        server.start()
        answer = None
        try:
            with connection.Client(listener.address, **options) as client:
                client.send("ab")
                answer = client.recv()
        except Exception as error:
            answer = error
        server.join()
        return answer, results.get()

    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("authkey", [None, b"key"])
    def test_families_and_keys(self, connection, family, authkey):
        with connection.Listener(family=family, authkey=authkey) as listener:
            assert listener.last_accepted is None
            assert self.meet(connection, listener, authkey=authkey) == ("abab", None)
            address, last = listener.address, listener.last_accepted
            assert (last == "") if family != "AF_INET" else last[0] == address[0]
        assert family == "AF_INET" or not os.path.exists(address)

    def test_an_abstract_address(self, connection):
        with connection.Listener(f"\0procession-{os.getpid()}") as listener:
            assert self.meet(connection, listener, family="AF_UNIX") == ("abab", None)

    def test_a_wrong_key(self, connection, mp):
        with connection.Listener(authkey=b"right") as listener:
            client, server = self.meet(connection, listener, authkey=b"wrong")
            assert isinstance(client, mp.AuthenticationError)
            assert isinstance(server, mp.AuthenticationError)
            assert self.meet(connection, listener, authkey=b"right") == ("abab", None)

    def test_closed(self, connection):
        listener = connection.Listener()
        listener.close()
        listener.close()
        with pytest.raises(OSError, match="^listener is closed$"):
            listener.accept()

    def test_bad_arguments(self, connection):
        with (
            connection.Listener() as listener,
            pytest.raises(TypeError, match="authkey should be a byte string"),
        ):
            connection.Client(listener.address, authkey="text")
        with pytest.raises(ValueError, match="Family AF_PIPE is not recognized"):
            connection.Listener(family="AF_PIPE")
        with pytest.raises(TypeError, match="address type of 5 unrecognized"):
            connection.Client(5)
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            connection.Client("/nowhere/socket")

    def test_xml(self, connection):
        with connection.XmlListener() as listener:

            def serve():
                accepted = listener.accept()
                accepted.send(accepted.recv() * 2)
                accepted.close()

            server = threading.Thread(target=serve)
            server.start()
            client = connection.XmlClient(listener.address)
            client.send("ab")
            assert client.recv() == "abab"
            client.close()
            server.join()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_ends_are_given_to_children(mp, start, method):
    ctx = mp.get_context(method)
    reader, writer = ctx.Pipe(False)
    child = start(ctx, writer.send, [1, 2])
    writer.close()
    with reader:
        assert reader.recv() == [1, 2]
        assert finish(child) == 0
        with pytest.raises(EOFError):
            reader.recv()


def test_an_end_is_sent_to_a_process_that_runs(mp, ctx, start):
    here, there = ctx.Pipe()

    def echo():
        with there.recv() as received:
            received.send("from afar")

    child = start(ctx, echo)
    reader, writer = ctx.Pipe(False)
    with here, there, reader:
        here.send(writer)
        writer.close()
        assert reader.poll(PATIENCE)
        assert reader.recv() == "from afar"
        assert finish(child) == 0
        with pytest.raises(EOFError):
            reader.recv()
    import_module(f"{mp.__name__}.resource_sharer").stop(PATIENCE)
