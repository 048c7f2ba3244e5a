"""Curves for a terminal, drawn with braille: each character holds two columns of four dots."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of U+2800, by row from the top, then column
BLANK = 0x2800
MANY = 4096
BEGINNING, FLAT = 10, 3  # the first tenth is left out where the range is three times as wide with it


@dataclass(frozen=True)
class Curve:
    """Lines of characters, and the values at their lower and upper edge."""

    lines: list[str]
    low: float
    high: float


def draw(steps: Sequence[int], values: Sequence[float], width: int, height: int) -> Curve:
    """The curve of values over their steps (one at least), `height` lines of `width` characters.

    It spans the area, first to last step, lowest to highest value; values that share a column count by their mean.
    A beginning that would press the rest flat is left out: nothing stands there.
    """
    cells = [[0] * width for _ in range(height)]
    points = columns(*thinned(steps, values), 2 * width)
    start = _start(points)
    low, high = min(points[start:]), max(points[start:])
    levels = _levels(points[start:], low, high, 4 * height)
    for x, (before, now) in enumerate(pairwise([levels[0], *levels]), start):
        reach = range(before + 1, now + 1) if now > before else range(now, max(before, now + 1))
        for y in reach:  # a steep part is a line, not two dots
            row, dot = divmod(4 * height - 1 - y, 4)
            cells[row][x // 2] |= DOTS[dot][x % 2]
    return Curve(["".join(chr(BLANK + cell) for cell in row) for row in cells], low, high)


def thinned(steps: Sequence[int], values: Sequence[float]) -> tuple[Sequence[int], Sequence[float]]:
    """A long series as some thousands of means, so that drawing it again each second costs little."""
    size = -(-len(values) // MANY)
    if size <= 1:
        return steps, values
    return steps[::size], [_mean(values[start : start + size]) for start in range(0, len(values), size)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)  # statistics.fmean raises where a sum is too large


def columns(steps: Sequence[int], values: Sequence[float], n: int) -> list[float]:
    """[n] the value at each of n columns: the mean of what falls into it, else on the line between neighbours."""
    first, span = min(steps), max(1, max(steps) - min(steps))
    sums, counts = [0.0] * n, [0] * n
    for step, value in zip(steps, values, strict=True):
        at = round((step - first) / span * (n - 1))
        sums[at] += value
        counts[at] += 1
    known = [x for x in range(n) if counts[x]]
    means = {x: sums[x] / counts[x] for x in known}
    out = [means[known[0]]]
    for left, right in pairwise(known):
        rise = (means[right] - means[left]) / (right - left)
        out += [means[left] + rise * (x - left) for x in range(left + 1, right + 1)]
    return out


def _start(points: Sequence[float]) -> int:
    """The column to begin with: behind the first tenth where what follows is much flatter, else the first."""
    cut = len(points) // BEGINNING
    whole, rest = max(points) - min(points), max(points[cut:]) - min(points[cut:])
    return cut if 0 < rest * FLAT < whole else 0


def _levels(points: Sequence[float], low: float, high: float, n: int) -> list[int]:
    """Which of n levels each value stands at; values that are all alike stand at the bottom."""
    scale = (n - 1) / (high - low) if 0 < high - low < math.inf else 0.0
    return [round((point - low) * scale) if scale else 0 for point in points]
