"""From results.json to the numbers that are told: rates, ratios, shares of the floor."""

from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.measure import Step, Timings
from bench.peers.works import FLOOR, Target

GIGA = 1e9


@dataclass(frozen=True)
class Reached:
    """A target, and how near we came: times the base, or the share of the floor."""

    target: Target
    value: float
    spread: float
    note: str

    @property
    def met(self) -> bool:
        return self.value <= self.target.factor if self.target.most else self.value >= self.target.factor

    def told(self, value: float) -> str:
        """With its unit."""
        return f"{value:.0%}" if self.target.base == FLOOR else f"{value:.2f}x"


class Figures:
    """One contest's."""

    def __init__(self, name: str, result: dict[str, Any]):
        self.name, self.result = name, result
        rounds = [{side: Step(**step) for side, step in one.items()} for one in result["rounds"]]
        self.timings = Timings(rounds, result["set_aside"], result["clean"])
        self.sides: dict[str, dict[str, Any]] = result["sides"]
        self.targets = [Target(**target) for target in result["targets"]]

    @property
    def ours(self) -> str:
        """The side of ours that the others are held against: of the first target, undisturbed."""
        first = self.targets[0]
        return first.base if first.most else first.side

    def gflops(self, side: str) -> float | None:
        """10^9 operations a second of a side that told what a unit of its work costs."""
        flops = self.sides[side]["facts"].get("flops")
        return None if flops is None else flops * self.timings.rate(side) / GIGA

    def reached(self) -> list[Reached]:
        """All targets of this contest."""
        return [
            Reached(
                target,
                self._value(target),
                self.timings.ratio_spread(target.side, target.base),
                self.timings.note(),
            )
            for target in self.targets
        ]

    def _value(self, target: Target) -> float:
        ratio = self.timings.ratio(target.side, target.base)
        if target.most:
            return 1 / ratio
        if target.base == FLOOR:
            return ratio * self.sides[target.side]["facts"]["flops"] / self.sides[FLOOR]["facts"]["flops"]
        return ratio

    def phases(self) -> dict[str, dict[str, float]]:
        """Median seconds of each phase, of the sides that told them."""
        found = {}
        for side, told in self.sides.items():
            if names := list((told["phases"] or [{}])[0]):
                found[side] = {name: median(one[name] for one in told["phases"]) for name in names}
        return found
