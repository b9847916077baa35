"""A timeout becomes a deadline once, at the door, and travels as one."""

import math
from time import monotonic
from typing import Final

LONGEST_POLL: Final = 2**31 - 1  # milliseconds; poll(2) takes a C int


class Deadline:
    """A moment on the monotonic clock, or never."""

    __slots__ = ("_at",)

    def __init__(self, at: float | None) -> None:
        self._at = at

    @classmethod
    def after(cls, timeout: float | None) -> "Deadline":
        """So many seconds from now; never for None; a negative timeout has passed already."""
        if timeout is not None and timeout != timeout:  # noqa: PLR0124  NaN; what is no number fails below
            raise ValueError("timeout must not be NaN")
        return cls(None if timeout is None else monotonic() + timeout)

    def has_passed(self) -> bool:
        return self._at is not None and monotonic() >= self._at

    def seconds(self) -> float | None:
        """What is left; less than nothing when it has passed; None for never."""
        return None if self._at is None else self._at - monotonic()

    def poll_milliseconds(self) -> int | None:
        """What is left, rounded up, as poll(2) takes it; None for never."""
        if self._at is None:
            return None
        return max(0, min(LONGEST_POLL, math.ceil((self._at - monotonic()) * 1000)))
