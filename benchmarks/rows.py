"""What a benchmark's table is made of."""

from collections.abc import Callable
from dataclasses import dataclass, field

Measure = Callable[[], float]  # seconds for one unit of the work


class Refused(Exception):
    """Why something cannot be measured: it is not installed, or gives wrong results."""


@dataclass
class Row:
    """One line of the table. `bound` and `aim` are ratios standard library / procession."""

    work: str
    standard: Measure
    ours: Measure
    bound: float
    aim: float | None
    floor: Measure | None = None
    aim_of_floor: float | None = None
    peers: dict[str, Measure] = field(default_factory=dict)
    unit: str = "s"
    rounds: dict[str, list[float]] = field(default_factory=lambda: {"standard": [], "ours": [], "floor": []})

    def round(self) -> None:
        for name in ("standard", "ours", "floor"):
            measure = getattr(self, name)
            if measure is not None:
                self.rounds[name].append(measure())
        for name, measure in self.peers.items():
            self.rounds.setdefault(name, []).append(measure())
