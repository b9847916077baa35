"""How a shared object is doing: each figure was true, not all at one instant."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LockStatistics:
    """Figures of one lock since it was made, over all processes."""

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


@dataclass(frozen=True, slots=True)
class SemaphoreStatistics:
    """Figures of one semaphore since it was made, over all processes."""

    acquisitions: int
    """How many permits were taken."""
    contended: int
    """How often somebody had to wait for one."""
    waited_ns: int
    """Nanoseconds spent waiting, summed over all who waited."""
    recovered: int
    """How often a process died whose permits came back."""
    signalling: bool
    """Whether somebody released what he had not acquired: permits of the dead do not come back then."""
    handles: int
    """How many processes hold it now."""


@dataclass(frozen=True, slots=True)
class EventStatistics:
    """Figures of one event since it was made, over all processes."""

    sets: int
    """How often it was set, modulo 2**30."""
    handles: int
    """How many processes hold it now."""


@dataclass(frozen=True, slots=True)
class ConditionStatistics:
    """Figures of one condition since it was made, over all processes."""

    waits: int
    """How often somebody began to wait."""
    notified: int
    """How many waiters were notified."""
    waiting: int
    """How many wait now and have not been notified."""
    handles: int
    """How many processes hold it now."""


@dataclass(frozen=True, slots=True)
class BarrierStatistics:
    """Figures of one barrier since it was made, over all processes."""

    generations: int
    """How often all parties came, or it was reset; modulo 2**30."""
    waiting: int
    """How many wait now."""
    handles: int
    """How many processes hold it now."""


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """Figures of one queue, over all processes."""

    depth: int
    """How many items are in it now."""
    puts: int
    """How many items were put since it was made."""
    gets: int
    """How many were got."""
    bytes: int
    """Bytes of the items that were put, large buffers left out."""
    waiting_producers: int
    """How many wait for room now."""
    waiting_consumers: int
    """How many wait for an item now."""
    oldest_age: float | None
    """Seconds since the oldest item in it was put; None when there is none."""
    handles: int
    """How many processes hold it now."""
