"""What one check found, and what to do about it."""

import enum
from collections.abc import Callable
from dataclasses import dataclass


class State(enum.Enum):
    """How a check ended. The values are part of the JSON."""

    OK = "ok"
    ABSENT = "absent"
    """Not here, and procession goes another way."""
    WARNING = "warning"
    """procession works, and something will get in the way sooner or later."""
    FAILED = "failed"
    """procession cannot work without it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's answer."""

    name: str
    """Stable: part of the JSON."""
    group: str
    """`kernel`, `processes`, `limits` or `trial`."""
    state: State
    detail: str
    """What was seen."""
    remedy: str | None = None
    """What to do about it, or what procession does instead; None when all is well."""


class Unfit(Exception):
    """A probe's answer when the system took the calls and did something else than promised."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A check: `run()` tries the real thing and says what it saw, or raises."""

    name: str
    group: str
    run: Callable[[], str]
    otherwise: State
    """The state when it raises."""
    remedy: str

    def __call__(self) -> Finding:
        try:
            return Finding(self.name, self.group, State.OK, self.run())
        except ImportError as error:
            return Finding(self.name, self.group, State.ABSENT, f"it cannot be tried: {error}")
        except AttributeError as error:
            why = f"this Python was built without {error.name}"
        except (OSError, Unfit, ValueError) as error:
            why = _words(error)
        return Finding(self.name, self.group, self.otherwise, why, self.remedy)


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        what = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{what}"
    return str(error) or type(error).__name__
