"""`counter`."""

from typing import Any, Self

from procession import _native
from procession._shared import handles


class Counter(_native.Counter):
    """A whole number of 64 bits that every process of the family reads and changes at once.

    `add` is one instruction of the processor: nobody waits for anybody, and a process that is killed has added
    or has not. OverflowError leaves it as it was.
    """

    __module__ = "procession.shared"
    __slots__ = ()

    def __int__(self) -> int:
        return self.value

    __index__ = __int__

    def __iadd__(self, n: int) -> Self:
        self.add(n)
        return self

    def __isub__(self, n: int) -> Self:
        self.add(-n)
        return self

    def __repr__(self) -> str:
        return f"shared.counter({self.value})"

    def __reduce__(self) -> tuple[Any, ...]:
        return handles.reduce(self)


Counter.__name__ = Counter.__qualname__ = "counter"
