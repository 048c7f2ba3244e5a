"""A number of the configuration and the range that it must lie in."""

from dataclasses import field
from typing import Any

from omegaconf import MISSING


def number(
    low: float | None = None, high: float | None = None, above: float | None = None, below: float | None = None
) -> Any:
    """A required number within [low, high], more than `above`, less than `below`; None leaves a side open."""
    return field(default=MISSING, metadata={"low": low, "high": high, "above": above, "below": below})
