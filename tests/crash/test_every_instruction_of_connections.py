"""Death after every instruction of sending and receiving: a message is whole, or an error says that it never will be."""

import fcntl
from collections.abc import Callable
from typing import Any

import pytest
import stepping
from campaign import PATIENCE, Campaign

import procession

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]

SHORT, LONG = b"short message", b"long message" * 15_000
ROOM = 1 << 20  # a pipe with so much never blocks here


def pipe() -> tuple[Any, Any]:
    """One that takes messages of several system calls without anybody reading."""
    reader, writer = procession.Pipe(False)
    fcntl.fcntl(writer.fileno(), fcntl.F_SETPIPE_SZ, ROOM)
    return reader, writer


CASES = {
    "short, pipe": (pipe, SHORT),
    "short, socket": (procession.Pipe, SHORT),
    "long, pipe": (pipe, LONG),
}


class Scene:
    """A connection for each victim."""

    def __init__(self, make: Callable[[], tuple[Any, Any]]) -> None:
        self.make = make
        self.held: list[tuple[Any, Any]] = []

    def fresh(self) -> tuple[Any, Any]:
        self.held.append(self.make())
        return self.held[-1]

    def rest(self) -> tuple[list[bytes], bool]:
        """All that still arrives, with one message more; and whether the direction was torn. Nothing waits for ever."""
        reader, writer = self.held.pop()
        arrived, torn = [], False
        try:
            writer.send_bytes(b"last")
        except BrokenPipeError as error:
            assert "torn message" in str(error) or "stopped in the middle" in str(error)
            torn = True
        try:
            while not arrived or arrived[-1] != b"last":
                assert reader.poll(PATIENCE), "nothing comes, and nothing says that nothing will"
                arrived.append(reader.recv_bytes())
        except procession.errors.TornMessageError:
            torn = True
            with pytest.raises(BrokenPipeError):
                writer.send_bytes(b"after it")
        reader.close()
        writer.close()
        return arrived, torn


@pytest.mark.parametrize("name", CASES)
def test_send(stepper, stride, name):
    make, message = CASES[name]
    scene = Scene(make)

    def make_victim() -> int:
        ends = scene.fresh()
        return stepping.fork_victim(lambda: ends[1], lambda writer: writer.send_bytes(message))

    def check() -> None:
        arrived, torn = scene.rest()
        if torn:
            assert message is LONG, "a short message is there whole or not at all"
            assert arrived in ([], [message])  # it died when all was written, and had not said so yet
        else:
            assert arrived in ([message, b"last"], [b"last"])

    Campaign(stepper, stride, f"Connection.send, {name}").run(make_victim, check=check)


@pytest.mark.parametrize("name", CASES)
def test_receive(stepper, stride, name):
    """Short ones too are torn by a reader that has read their length and dies; never is a part of one a message."""
    make, message = CASES[name]
    scene = Scene(make)

    def make_victim() -> int:
        ends = scene.fresh()
        ends[1].send_bytes(message)
        ends[1].send_bytes(SHORT)
        return stepping.fork_victim(lambda: ends[0], lambda reader: reader.recv_bytes())

    def check() -> None:
        arrived, torn = scene.rest()
        if torn:
            assert arrived == []
        else:
            assert arrived in ([message, SHORT, b"last"], [SHORT, b"last"])

    Campaign(stepper, stride, f"Connection.recv, {name}").run(make_victim, check=check)


def test_poll(stepper, stride):
    """Whoever only asks takes nothing along."""
    scene = Scene(procession.Pipe)

    def make_victim() -> int:
        ends = scene.fresh()
        ends[1].send_bytes(SHORT)
        return stepping.fork_victim(lambda: ends[0], lambda reader: reader.poll())

    def check() -> None:
        assert scene.rest() == ([SHORT, b"last"], False)

    Campaign(stepper, stride, "Connection.poll").run(make_victim, check=check)
