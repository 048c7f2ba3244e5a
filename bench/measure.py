"""How every figure of bench/ is measured: side by side, interleaved, medians, disturbed rounds set aside.

A round runs each contender once, one after the other. What other processes took meanwhile is read from /proc/stat: the
busy time of all cores less the time of this process and its children. A round in which a contender lost more than
OTHERS of a core is disturbed: it is counted, and left out as long as enough clean ones are found. Ratios are taken
within a round, so that a machine that drifts moves both sides. A contender may be a process of its own, which measures
itself (bench/peers).
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles

OTHERS = 0.2  # cores that other processes may take during a clean step


@dataclass(frozen=True)
class Step:
    """One call: wall and CPU seconds, how many cores others used meanwhile, and the work that was done, in any unit."""

    seconds: float
    cpu: float
    others: float
    done: float = 1.0

    @property
    def rate(self) -> float:
        """Work a second."""
        return self.done / self.seconds


@dataclass(frozen=True)
class Timings:
    """The rounds that count, and how many were set aside. `clean`: whether those that count were undisturbed."""

    rounds: list[dict[str, Step]]
    set_aside: int
    clean: bool

    def seconds(self, name: str) -> float:
        """Median wall seconds of a contender."""
        return median(r[name].seconds for r in self.rounds)

    def rate(self, name: str) -> float:
        """Median work a second of a contender."""
        return median(r[name].rate for r in self.rounds)

    def spread(self, name: str) -> float:
        """Distance of the quartiles of the rate, as a share of its median; 0 of a single round."""
        return _spread([r[name].rate for r in self.rounds])

    def ratio(self, name: str, base: str, *, cpu: bool = False) -> float:
        """How many times faster `name` is than `base`: the median over the rounds, of wall or of CPU seconds."""
        return median(self._ratios(name, base, cpu))

    def ratio_spread(self, name: str, base: str) -> float:
        """Distance of the quartiles of the ratio in wall time, as a share of its median."""
        return _spread(self._ratios(name, base, cpu=False))

    def _ratios(self, name: str, base: str, cpu: bool) -> list[float]:
        if cpu:
            return [r[name].done / r[name].cpu * r[base].cpu / r[base].done for r in self.rounds]
        return [r[name].rate / r[base].rate for r in self.rounds]

    def note(self) -> str:
        """Rounds and disturbance, for a table."""
        kind = "clean" if self.clean else "DISTURBED"
        return f"n={len(self.rounds)} {kind}, {self.set_aside} set aside"


class Watch:
    """A stopwatch of this process and of the machine, running from the moment it is made."""

    def __init__(self) -> None:
        self._busy, self._own, self._began = _busy(), _own(), time.perf_counter()

    def stop(self, done: float = 1.0) -> Step:
        """What was measured since, with the work that was done."""
        seconds, cpu = time.perf_counter() - self._began, _own() - self._own
        return Step(seconds, cpu, max(0.0, (_busy() - self._busy - cpu) / seconds), done)


def timed(call: Callable[[], object]) -> Step:
    """Run and measure one call."""
    watch = Watch()
    call()
    return watch.stop()


def interleaved(contenders: Mapping[str, Callable[[], object]], rounds: int = 5, most: int = 15) -> Timings:
    """Warm every contender up once, then time them in turn until `rounds` are clean or `most` are done.

    With fewer than three clean rounds all rounds count, and the result says that it is disturbed.
    """
    return alternated({name: partial(timed, call) for name, call in contenders.items()}, rounds, most)


def alternated(contenders: Mapping[str, Callable[[], Step]], rounds: int, most: int) -> Timings:
    """The same of contenders that measure themselves."""
    for call in contenders.values():
        call()
    done: list[dict[str, Step]] = []
    clean: list[dict[str, Step]] = []
    while len(clean) < rounds and len(done) < most:
        done.append({name: call() for name, call in contenders.items()})
        if all(step.others <= OTHERS for step in done[-1].values()):
            clean.append(done[-1])
    if len(clean) < min(3, rounds):
        return Timings(done, 0, False)
    return Timings(clean, len(done) - len(clean), True)


def _spread(values: list[float]) -> float:
    if len(values) < 2:
        return 0.0
    low, _, high = quantiles(values, n=4, method="inclusive")
    return (high - low) / median(values)


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
