"""How every figure of bench/ is measured: side by side, interleaved, medians, disturbed rounds set aside.

A round runs each contender once, one after the other. What other processes took meanwhile is read from /proc/stat: the
busy time of all cores less the time of this process and its children. A round in which a contender lost more than
OTHERS of a core is disturbed: it is counted, and left out as long as enough clean ones are found. Ratios are taken
within a round, so that a machine that drifts moves both sides.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

OTHERS = 0.2  # cores that other processes may take during a clean step


@dataclass(frozen=True)
class Step:
    """One call: wall and CPU seconds, and how many cores others used meanwhile."""

    seconds: float
    cpu: float
    others: float


@dataclass(frozen=True)
class Timings:
    """The rounds that count, and how many were set aside. `clean`: whether those that count were undisturbed."""

    rounds: list[dict[str, Step]]
    set_aside: int
    clean: bool

    def seconds(self, name: str) -> float:
        """Median wall seconds of a contender."""
        return median(r[name].seconds for r in self.rounds)

    def spread(self, name: str) -> float:
        """Distance of the quartiles, as a share of the median; 0 of a single round."""
        values = [r[name].seconds for r in self.rounds]
        if len(values) < 2:
            return 0.0
        low, _, high = quantiles(values, n=4, method="inclusive")
        return (high - low) / median(values)

    def ratio(self, name: str, base: str, *, cpu: bool = False) -> float:
        """How many times faster `name` is than `base`: the median over the rounds, of wall or of CPU seconds."""
        if cpu:
            return median(r[base].cpu / r[name].cpu for r in self.rounds)
        return median(r[base].seconds / r[name].seconds for r in self.rounds)

    def note(self) -> str:
        """Rounds and disturbance, for a table."""
        kind = "clean" if self.clean else "DISTURBED"
        return f"n={len(self.rounds)} {kind}, {self.set_aside} set aside"


def timed(call: Callable[[], object]) -> Step:
    """Run and measure one call."""
    busy, own, began = _busy(), _own(), time.perf_counter()
    call()
    seconds, cpu = time.perf_counter() - began, _own() - own
    return Step(seconds, cpu, max(0.0, (_busy() - busy - cpu) / seconds))


def interleaved(contenders: Mapping[str, Callable[[], object]], rounds: int = 5, most: int = 15) -> Timings:
    """Warm every contender up once, then time them in turn until `rounds` are clean or `most` are done.

    With fewer than three clean rounds all rounds count, and the result says that it is disturbed.
    """
    for call in contenders.values():
        call()
    done: list[dict[str, Step]] = []
    clean: list[dict[str, Step]] = []
    while len(clean) < rounds and len(done) < most:
        done.append({name: timed(call) for name, call in contenders.items()})
        if all(step.others <= OTHERS for step in done[-1].values()):
            clean.append(done[-1])
    if len(clean) < min(3, rounds):
        return Timings(done, 0, False)
    return Timings(clean, len(done) - len(clean), True)


def _busy() -> float:
    """CPU seconds that all processes of the machine have used; 0 where /proc/stat is not there."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    user, nice, system, _, _, irq, softirq, steal = map(int, stat.read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    """CPU seconds of this process and of its children that have ended."""
    return sum(os.times()[:4])
