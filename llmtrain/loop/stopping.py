"""When to end a run before its steps are used up (correctness C13)."""

import re
from dataclasses import dataclass

from llmtrain.errors import ConfigError
from llmtrain.loop.learner import Evaluation, Rate


def seconds(text: str | None) -> float | None:
    """ "90", "90s", "15m", "1.5h" in seconds; None stays None. Raises ConfigError."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if match is None:
        raise ConfigError(f"max_time={text}: not a duration; write seconds, 90s, 15m or 2h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


@dataclass
class TargetReached:
    """Stop when the lower bound of `metric` is at least `threshold` in `patience` evaluations in a row.

    A Rate counts with its Wilson lower bound, any other number as it is. The metric comes from held-out rows.
    """

    metric: str
    threshold: float
    confidence: float
    patience: int
    min_steps: int
    hits: int = 0

    def observe(self, step: int, values: Evaluation) -> str | None:
        """Count an evaluation; the reason to stop, or None. Raises ConfigError for an unknown metric."""
        if self.metric not in values:
            raise ConfigError(
                f"stop.metric={self.metric}: not measured here; choose one of {', '.join(sorted(values))}"
            )
        bound = lower_bound(values[self.metric], self.confidence)
        self.hits = self.hits + 1 if bound >= self.threshold else 0
        if self.hits >= self.patience and step >= self.min_steps:
            return f"target reached: {self.metric} at least {self.threshold:g} in {self.hits} evaluations in a row"
        return None


def lower_bound(value: float | Rate, confidence: float) -> float:
    return value.interval(confidence)[0] if isinstance(value, Rate) else value


def numbers(values: Evaluation) -> dict[str, float]:
    """An evaluation as plain numbers, a Rate as its share."""
    return {name: v.value if isinstance(v, Rate) else v for name, v in values.items()}


def sizes(values: Evaluation) -> dict[str, int]:
    """How many independent prompts hold each Rate up."""
    return {name: v.size for name, v in values.items() if isinstance(v, Rate)}
