"""How a lock is doing."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LockStatistics:
    """Figures of one lock since it was made, over all processes; each was true, not all at one instant."""

    acquisitions: int
    """How often it was acquired, counting every level of a recursive lock."""
    contended: int
    """How often somebody had to wait for it."""
    waited_ns: int
    """Nanoseconds spent waiting, summed over all who waited."""
    recovered: int
    """How often it was taken over from an owner that died."""
    signalling: bool
    """Whether somebody other than its holder released it: it is a semaphore then, and never taken over."""
    handles: int
    """How many handles to it processes hold now."""
