"""How much of everything a page takes from its visitors."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """`each` requests a second in the long run, `burst` of them at once."""

    each: float
    burst: int


@dataclass(frozen=True)
class Limits:
    """What one server takes. No person at a page meets any of these; a script in a loop does."""

    body: int = 64 * 1024  # bytes of a request's body (reliability S12)
    head: int = 16 * 1024  # bytes of a request's line and headers
    connections: int = 256  # open at once; a browser holds up to six
    seconds: float = 10.0  # for a request's head, for its body, and for a reader to take more of an answer
    person: Rate = Rate(20, 100)
    people: Rate = Rate(1000, 2000)  # all that are known, together
    strangers: Rate = Rate(20, 200)  # all that are not: so that they cannot use up the rate of those who are


class Bucket:
    """A token bucket: take() gives 0 when a request may pass, else the seconds to wait."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic):
        self.rate, self.clock = rate, clock
        self.left, self.at = float(rate.burst), clock()

    def take(self) -> float:
        now = self.clock()
        self.left = min(self.rate.burst, self.left + (now - self.at) * self.rate.each)
        self.at = now
        if self.left < 1:
            return (1 - self.left) / self.rate.each
        self.left -= 1
        return 0.0
