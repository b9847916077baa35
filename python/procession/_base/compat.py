"""Which names are still the standard library's."""

from types import MappingProxyType
from typing import Final

STANDARD: Final[MappingProxyType[str, str]] = MappingProxyType({})
"""Name in procession, or start method, and what does its work."""


def compat() -> dict[str, str]:
    """The names and start methods that are still the standard library's own, bound to procession's contexts.

    The keys are names of this package, or start methods; the values say what does
    the work. A name that is not listed is procession's: by now all are.
    """
    return dict(STANDARD)
