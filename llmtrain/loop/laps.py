"""Where the seconds of a round go."""

import time


class Laps:
    """A stopwatch: each lap is the time since the one before, and laps of the same name add up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._at = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._at
        self._at = now

    def metrics(self) -> dict[str, float]:
        """time/NAME_seconds of each."""
        return {f"time/{name}_seconds": seconds for name, seconds in self.seconds.items()}
