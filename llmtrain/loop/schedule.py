"""Learning-rate schedules: pure functions of the 0-based optimizer step that the rate is USED for (correctness A10).

Letters: s step, S total steps, w warm-up steps, D decay steps. A factor multiplies the full learning rate.
"""

import math
from collections.abc import Callable

from llmtrain.errors import ConfigError

Shape = Callable[[int, int, int, int], float]  # (s, S, w, D), w <= s < S -> height in [0, 1] above the final factor


def cosine(s: int, total: int, warmup: int, decay: int) -> float:
    """Half a cosine from the end of the warm-up to the end (arXiv 1608.03983)."""
    return (1 + math.cos(math.pi * (s - warmup) / (total - warmup))) / 2


def linear(s: int, total: int, warmup: int, decay: int) -> float:
    """A straight line from the end of the warm-up to the end."""
    return (total - s) / (total - warmup)


def constant(s: int, total: int, warmup: int, decay: int) -> float:
    """Full height to the end."""
    return 1.0


def wsd(s: int, total: int, warmup: int, decay: int) -> float:
    """Warm-up, stable, then 1 - sqrt over the last `decay` steps, the best of its shapes in arXiv 2405.18392."""
    return 1.0 - math.sqrt(_decayed(s, total, decay))


def wsd_linear(s: int, total: int, warmup: int, decay: int) -> float:
    """Warm-up, stable, then a straight line over the last `decay` steps."""
    return 1.0 - _decayed(s, total, decay)


def _decayed(s: int, total: int, decay: int) -> float:
    """Which share of the decay is over."""
    return max(0.0, (s - (total - decay)) / decay) if decay else 0.0


SCHEDULES: dict[str, Shape] = {  # the names in config.schema.ScheduleName
    "cosine": cosine,
    "linear": linear,
    "constant": constant,
    "wsd": wsd,
}


def factor(shape: Shape, step: int, *, total: int, warmup: int = 0, final: float = 0.0, decay: int = 0) -> float:
    """What the learning rate is multiplied by at `step`; warmup and decay are steps, final the factor at the end.

    Warm-up is (s + 1) / w, so step 0 already learns. From step `total` on the end is reached.
    """
    if step < warmup:
        return (step + 1) / warmup
    if shape is constant:
        return 1.0
    return final + (1 - final) * shape(step, total, warmup, decay) if step < total else final


def schedule(name: str, *, total: int, warmup: float, final: float, decay: float) -> Callable[[int], float]:
    """step -> factor, for `total` steps; warmup and decay are shares of them, final a share of the full rate.

    Raises ConfigError when warm-up and decay overlap.
    """
    warmup_steps = round(warmup * total)
    decay_steps = round(decay * total) if name == "wsd" else 0
    if warmup_steps + decay_steps > total:
        raise ConfigError(
            f"schedule.warmup={warmup} and schedule.decay={decay} overlap in {total} steps; their sum must be at most 1"
        )
    shape = SCHEDULES[name]
    return lambda step: factor(shape, step, total=total, warmup=warmup_steps, final=final, decay=decay_steps)
