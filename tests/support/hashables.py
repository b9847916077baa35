"""Keys of every kind that programs use, and pairs of equal ones among them."""

import dataclasses
import datetime as dt
import enum
import pathlib
import typing
import uuid
from decimal import Decimal
from fractions import Fraction


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mode(enum.Flag):
    READ = 1
    WRITE = 2


class Point(typing.NamedTuple):
    x: int
    y: typing.Any


@dataclasses.dataclass(frozen=True)
class Part:
    name: str
    number: float = 0
    note: str = dataclasses.field(default="", compare=False)


@dataclasses.dataclass(frozen=True)
class OtherPart(Part):
    pass


class Name:
    """Equal without regard to case: its hash is that of a str, another in each process."""

    def __init__(self, text):
        self.text = text

    def __eq__(self, other):
        return isinstance(other, Name) and self.text.lower() == other.text.lower()

    def __hash__(self):
        return hash(self.text.lower())

    def __repr__(self):
        return f"Name({self.text!r})"


class Number:
    """All with the same hash."""

    def __init__(self, number):
        self.number = number

    def __eq__(self, other):
        return isinstance(other, Number) and self.number == other.number

    def __hash__(self):
        return 7

    def __repr__(self):
        return f"Number({self.number})"


NOON = dt.datetime(2020, 1, 1, 12, tzinfo=dt.UTC)
KEYS = [
    0, False, 0.0, -0.0, 1, True, 1.0, 1 + 0j, Level.LOW, Fraction(2, 2), Decimal("1.00"),
    0.5, Fraction(1, 2), Decimal("0.50"), 2**70, float(2**70), 1 + 2j, None, "a", b"a", "", "ü",
    Level.HIGH, 2, Colour.RED, Colour.BLUE, Mode.READ | Mode.WRITE, Mode(0),
    (1, 2), Point(1, 2), (True, 2.0), Point(1, (2, None)), (1, (2, None)),
    frozenset({1, "b"}), frozenset({"b", True}), frozenset(),
    Part("x"), Part("x", 0.0, "note"), Part("x", 1), OtherPart("x"),
    NOON, NOON.astimezone(dt.timezone(dt.timedelta(hours=5))), NOON.replace(tzinfo=None), NOON.date(), NOON.time(),
    dt.timedelta(1), pathlib.Path("/x"), pathlib.PurePosixPath("/x"), uuid.UUID(int=1), range(3), range(0, 3, 1),
    Name("a"), Name("A"), Name("b"), Number(1), Number(2), Number(1.0),
    (1, Name("a")), (True, Name("A")), frozenset({Name("a"), 1}), frozenset({1.0, Name("A")}),
    Part("x", Name("n")), Part("x", Name("N")), int, len, Colour,
]  # fmt: skip
"""The first of several equal ones is not always the plainest."""
