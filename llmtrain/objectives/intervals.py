"""Intervals of shares and correlations, in plain numbers: what is only read needs no torch."""

import math
from statistics import NormalDist


def wilson(passed: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval (low, high) of `passed` out of n; (0, 1) when nothing was tried."""
    if not n:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate, spread = passed / n, z * z / n
    centre = (rate + spread / 2) / (1 + spread)
    half = z * math.sqrt(rate * (1 - rate) / n + spread / (4 * n)) / (1 + spread)
    return (centre - half if passed else 0.0), (centre + half if passed < n else 1.0)


def fisher(correlation: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Fisher's interval (low, high) of a Pearson correlation over n pairs; (-1, 1) for fewer than four."""
    if n < 4:
        return -1.0, 1.0
    half = NormalDist().inv_cdf((1 + confidence) / 2) / math.sqrt(n - 3)
    centre = math.atanh(max(-1 + 1e-12, min(1 - 1e-12, correlation)))
    return math.tanh(centre - half), math.tanh(centre + half)
