"""Connections of ours and of the standard library at the two ends of one, and each in the other's processes."""

import concurrent.futures
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_sharer
import os
import subprocess
import sys
import textwrap
import threading

import pytest
from children import PATIENCE, finish

import procession
import procession.connection

ours, theirs = procession.connection, multiprocessing.connection
WORLDS = [(ours, theirs), (theirs, ours)]
IDS = ["ours sends", "theirs sends"]
VALUES = [None, True, 7, -(2**70), 1.5, "text", b"bytes", [1, {"a": (2,)}], "x" * 100_000, b"y" * 1_000_000]


@pytest.fixture(params=WORLDS, ids=IDS)
def worlds(request):
    return request.param


@pytest.mark.parametrize("duplex", [True, False])
def test_the_wire(worlds, duplex):
    sender, receiver = worlds
    ends = procession.Pipe(duplex)
    with ends[0], ends[1]:
        reader = receiver.Connection(os.dup(ends[0].fileno()), writable=False)
        writer = sender.Connection(os.dup(ends[1].fileno()), readable=False)
        with reader, writer:
            sending = threading.Thread(target=lambda: [writer.send(value) for value in VALUES])
            sending.start()
            assert [reader.recv() for _ in VALUES] == VALUES
            sending.join()
            writer.send_bytes(b"")
            assert reader.recv_bytes() == b""


@pytest.mark.parametrize("family", ["AF_INET", "AF_UNIX"])
@pytest.mark.parametrize(("key", "knows"), [(None, None), (b"key", b"key"), (b"key", b"other")])
def test_listeners_and_clients(worlds, family, key, knows):
    client, server = worlds
    refused = []
    with server.Listener(family=family, authkey=key) as listener:

        def serve():
            try:
                with listener.accept() as accepted:
                    accepted.send(accepted.recv())
            except procession.AuthenticationError as error:
                refused.append(error)

        serving = threading.Thread(target=serve)
        serving.start()
        if key == knows:
            with client.Client(listener.address, authkey=knows) as connected:
                connected.send(VALUES)
                assert connected.recv() == VALUES
        else:
            with pytest.raises(procession.AuthenticationError):
                client.Client(listener.address, authkey=knows)
        serving.join()
    assert len(refused) == (key != knows)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_ours_in_their_processes(start, method):
    ctx = multiprocessing.get_context(method)
    reader, writer = procession.Pipe(False)
    child = start(ctx, writer.send, "from there")
    writer.close()
    with reader:
        assert reader.recv() == "from there"
        assert finish(child) == 0
        with pytest.raises(EOFError):
            reader.recv()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_theirs_in_our_processes(start, method):
    reader, writer = multiprocessing.Pipe(False)
    child = start(procession.get_context(method), writer.send, "from there")
    writer.close()
    with reader:
        assert reader.recv() == "from there"
        assert finish(child) == 0


def test_waiting_for_both():
    pipes = [procession.Pipe(), multiprocessing.Pipe()]
    readers = [reader for reader, _ in pipes]
    for module in (ours, theirs):
        assert module.wait(readers, 0) == []
        for reader, writer in pipes:
            writer.send(1)
            assert module.wait(readers, PATIENCE) == [reader]
            assert reader.recv() == 1
    for pipe in pipes:
        for end in pipe:
            end.close()


def test_another_family_gets_an_end_of_its_own():
    """A program that knows neither our arena nor our children: by the resource sharer of ours."""
    program = """
        import sys
        from multiprocessing import process
        from procession.connection import Client
        process.current_process().authkey = b"family"
        with Client(sys.argv[1], authkey=b"key") as line, line.recv() as end:
            end.send(end.recv() + " and back")
    """
    before, multiprocessing.current_process().authkey = multiprocessing.current_process().authkey, b"family"
    here, there = procession.Pipe()
    try:
        with ours.Listener(authkey=b"key") as listener, here:
            command = [sys.executable, "-c", textwrap.dedent(program), listener.address]
            with subprocess.Popen(command) as stranger, listener.accept() as line:
                line.send(there)
                here.send("there")
                assert here.recv() == "there and back"
                there.close()
            assert stranger.returncode == 0
    finally:
        multiprocessing.resource_sharer.stop(PATIENCE)
        multiprocessing.current_process().authkey = before


def test_executors_and_their_queues_run_over_our_pipes():
    program = """
        import concurrent.futures, multiprocessing, procession
        procession.install()
        def double(number):
            return 2 * number
        def put(queue):
            queue.put([1, 2])
        if __name__ == "__main__":
            context = multiprocessing.get_context("fork")
            queue = context.Queue()
            if type(queue).__module__ == "multiprocessing.queues":
                assert type(queue._reader) is procession.connection.Connection
            child = context.Process(target=put, args=(queue,))
            child.start()
            assert queue.get() == [1, 2]
            child.join()
            with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
                print(sum(executor.map(double, range(50))))
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.stdout.strip(), run.returncode) == ("2450", 0), run.stderr


def test_executors_with_our_context():
    context = procession.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        assert list(executor.map(abs, [-1, -2])) == [1, 2]
