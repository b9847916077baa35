"""Which names are still the standard library's, and which of those this process used."""

from types import MappingProxyType
from typing import Final

STANDARD: Final = MappingProxyType(
    {
        "Manager": "multiprocessing.managers.SyncManager",
    }
)
"""Name in procession, or start method, and what does its work."""

_used: dict[str, int] = {}


def note(name: str) -> None:
    """Somebody used a name that is still the standard library's."""
    _used[name] = _used.get(name, 0) + 1


def used() -> dict[str, int]:
    """How often this process used each."""
    return dict(sorted(_used.items()))


def compat() -> dict[str, str]:
    """The names and start methods that are still the standard library's own, bound to procession's contexts.

    The keys are names of this package, or start methods; the values say what does
    the work. A name that is not listed is procession's.
    """
    return dict(STANDARD)
