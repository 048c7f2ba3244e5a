"""Exponents of measured costs, and where they bend."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

Numbers = Sequence[float]


def exponents(xs: Numbers, ys: Numbers) -> list[float]:
    """d log y / d log x between neighbouring points."""
    return [math.log(d / c) / math.log(b / a) for (a, c), (b, d) in pairwise(zip(xs, ys, strict=True))]


def line(xs: Numbers, ys: Numbers) -> tuple[float, float]:
    """a, b >= 0 of y = a + b x, the sum of squared relative errors least."""
    x, y = np.asarray(xs, dtype=float), np.asarray(ys, dtype=float)
    (a, b), *_ = np.linalg.lstsq(np.stack([1 / y, x / y], 1), np.ones(len(x)), rcond=None)
    if a < 0:
        return 0.0, float((x / y).sum() / ((x / y) ** 2).sum())
    if b < 0:
        return float((1 / y).sum() / (1 / y**2).sum()), 0.0
    return float(a), float(b)


def bend(xs: Numbers, ys: Numbers) -> float | None:
    """x at which what grows overtakes what does not, the exponent of y there being 1/2.

    None where the fitted line has only one of the two parts, or where it is so far away (a tenth of the smallest x, ten
    times the largest) that the points do not tell it.
    """
    a, b = line(xs, ys)
    found = a / b if a and b else None
    return found if found is not None and min(xs) / 10 <= found <= max(xs) * 10 else None
