"""What a run has told so far, by the name of the number, and what a diagnosis makes of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

EVALUATION = "eval/"  # the rows of an evaluation have a name that begins so


@dataclass(frozen=True)
class Window:
    """Neighbouring values of one number and the steps they were logged at."""

    steps: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def stderr(self) -> float:
        """Of the mean, from the spread of the values."""
        return pstdev(self.values) / math.sqrt(len(self.values))

    @property
    def span(self) -> tuple[int, int]:
        return self.steps[0], self.steps[-1]


class Record:
    """The rows of a metrics.jsonl as a series for each name, and the counts of its counts.json."""

    def __init__(self, counts: Mapping[str, int] | None = None):
        self.counts: dict[str, int] = dict(counts or {})
        self._series: dict[str, tuple[list[int], list[float]]] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """Take a row in; what is not a finite number is left out, as in the file."""
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float) and math.isfinite(value):
                steps, values = self._series.setdefault(name, ([], []))
                steps.append(int(row["step"]))
                values.append(float(value))

    def names(self, prefix: str) -> list[str]:
        return [name for name in self._series if name.startswith(prefix)]

    def all(self, name: str) -> Window:
        steps, values = self._series.get(name, ([], []))
        return Window(tuple(steps), tuple(values))

    def last(self, name: str, n: int) -> Window | None:
        """The newest n values; None while there are fewer."""
        return self._cut(name, -n, None, n)

    def first(self, name: str, n: int) -> Window | None:
        return self._cut(name, 0, n, n)

    def _cut(self, name: str, start: int, stop: int | None, n: int) -> Window | None:
        steps, values = self._series.get(name, ([], []))
        return Window(tuple(steps[start:stop]), tuple(values[start:stop])) if len(values) >= n else None


@dataclass(frozen=True)
class Seen:
    """What a diagnosis found: in which steps, in words, and the numbers behind the words."""

    steps: tuple[int, int]
    says: str
    numbers: dict[str, float]


@dataclass(frozen=True)
class Finding:
    """A diagnosis that holds for a run. `severe`: its result cannot be trusted as it is."""

    name: str
    severe: bool
    seen: Seen
    advice: str

    def __str__(self) -> str:
        first, last = self.seen.steps
        place = f"step {last}" if first == last else f"steps {first} to {last}"
        return f"{self.name}: {self.seen.says} ({place}); try {self.advice}"

    def plain(self) -> dict[str, Any]:
        """For result.json."""
        numbers = {name: float(f"{value:.6g}") for name, value in self.seen.numbers.items()}
        return {"name": self.name, "severe": self.severe, "steps": list(self.seen.steps), "says": self.seen.says} | {
            "numbers": numbers,
            "try": self.advice,
        }
