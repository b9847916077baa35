"""The connections of the chaos: ends that all share, senders and receivers killed at any moment, also in mid-message.

A message says its length and a sum over its bytes, so what is no whole message is seen where it arrives. Half a message
ends its direction for good: from then on all who use it must get one of the documented errors, and never a message or
anything else. Whoever is born later gets new wires in the place of torn ones. Nobody waits for more than `PATIENCE`: a
signal's handler raises then, which tears the message that it comes in the middle of.
"""

import contextlib
import random
import select
import signal
import struct
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import procession
from procession import TornMessageError
from procession.connection import wait

USED = ("sends_begun", "sends_done", "heard")  # what workers count
SIZES = (0, 10, 1000, 2100, 5000, 70_000, 300_000, 1_500_000)
PATIENCE = 0.03  # seconds
HEAD = struct.Struct("=QQ")


class TooLateError(BaseException):
    """Nothing came, or there was no room, in time."""


def make_message(number: int, size: int) -> bytes:
    content = number.to_bytes(8, "little") * (size // 8)
    return HEAD.pack(len(content), zlib.crc32(content)) + content


def is_whole(message: Any) -> bool:
    if not isinstance(message, (bytes, bytearray, memoryview)) or len(message) < HEAD.size:
        return False
    size, checksum = HEAD.unpack_from(message)
    content = message[HEAD.size :]
    return len(content) == size and zlib.crc32(content) == checksum


class Way:
    """One direction of a connection: both ends, of which everybody has both."""

    def __init__(self, reader: Any, writer: Any, *, pickles: bool) -> None:
        self.reader, self.writer, self.pickles = reader, writer, pickles
        self.is_over = self.is_shut = False  # for receivers and for senders, as far as this process has seen
        self.room = bytearray(max(SIZES) + HEAD.size)

    def send(self, message: bytes) -> None:
        if self.pickles:
            self.writer.send(message)
        else:
            self.writer.send_bytes(message)

    def receive(self, *, into: bool) -> Any:
        if self.pickles:
            return self.reader.recv()
        if not into:
            return self.reader.recv_bytes()
        return memoryview(self.room)[: self.reader.recv_bytes_into(self.room)]


class Wires:
    """Two connections, one of either kind, replaced when they are torn."""

    def __init__(self) -> None:
        self.pairs = [procession.Pipe(True), procession.Pipe(False)]
        self.make_ways()
        self.renewed = 0
        self.is_armed = False

    def make_ways(self) -> None:
        (one, other), (reader, writer) = self.pairs
        self.ways = [
            Way(one, other, pickles=True),
            Way(other, one, pickles=False),
            Way(reader, writer, pickles=False),
        ]

    def renew(self) -> None:
        """Before somebody is born."""
        for at, pair in enumerate(self.pairs):
            if any(end.readable and end._look() for end in pair):
                for end in pair:
                    end.close()
                self.pairs[at] = procession.Pipe(at == 0)
                self.renewed += 1
        self.make_ways()

    def close(self) -> None:
        for pair in self.pairs:
            for end in pair:
                end.close()

    def acts(
        self, chance: random.Random, count: Callable[[str], None], fault: Callable[[str], None]
    ) -> list[Any]:
        """What a worker may do."""

        def send() -> None:
            way = chance.choice(self.ways)
            message = make_message(chance.randrange(1 << 40), chance.choice(SIZES))
            count("sends_begun")
            try:
                way.send(message)
                count("sends_done")
                if way.is_shut:
                    fault("a message was sent after the end of its direction")
            except BrokenPipeError:
                way.is_shut = True

        def receive() -> None:
            way = chance.choice(self.ways)
            try:
                message = way.receive(into=chance.random() < 0.3)
                count("heard")
                if not is_whole(message):
                    fault(f"no message: {len(message)} bytes, {bytes(message[:32])!r}")
                if way.is_over:
                    fault("a message after the end of its direction")
            except TornMessageError:
                way.is_over = True

        def look() -> None:
            way = chance.choice(self.ways)
            if way.is_over and not way.reader.poll(chance.choice((0.0, 0.001))):
                fault("a torn direction is not readable")
            wait([way.reader for way in self.ways], chance.choice((0.0, 0.001)))

        signal.signal(signal.SIGALRM, self.too_late)
        return [partial(self.in_time, act) for act in [send] * 3 + [receive] * 4 + [look]]

    def too_late(self, *_: object) -> None:
        if self.is_armed:
            raise TooLateError

    def in_time(self, act: Callable[[], None]) -> None:
        try:
            try:
                self.is_armed = True
                signal.setitimer(signal.ITIMER_REAL, PATIENCE)
                act()
            finally:
                self.is_armed = False
        except TooLateError:
            pass
        signal.setitimer(signal.ITIMER_REAL, 0)

    def verdict(self, total: Callable[[str], int], kills: int, fail: Callable[[str], None]) -> None:
        """When all workers are gone: what is whole in there can be read, and nothing else."""
        if total("heard") > total("sends_begun") + kills:
            fail(f"{total('heard')} messages were heard of {total('sends_begun')}")
        if not total("heard"):
            fail("nobody has ever heard a message")
        for way in self.ways:
            with contextlib.suppress(TornMessageError):
                while way.reader.poll() and select.select([way.reader], [], [], 0)[0]:
                    if not is_whole(way.receive(into=False)):
                        fail("no message is left in a connection")
