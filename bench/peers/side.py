"""A side of a contest is a process: it builds everything once and works when it is told to.

    python -m bench.peers.side MODULE.NAME SETTINGS

The runner writes a line for each round, the side answers with a line of JSON: what the round took, measured by itself,
and what it did. What libraries print goes to stderr. Between two rounds a side waits for input and uses nothing.
SETTINGS is JSON; `tune` says whether to apply the machine's settings of llmtrain, which must come before torch loads.
"""

import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bench.measure import Watch

PACKAGES = ("torch", "transformers", "trl", "accelerate")


@dataclass(frozen=True)
class Done:
    """A round's work in the contest's unit, the loss of each optimizer step, and seconds by phase."""

    amount: float
    losses: Sequence[float] = ()
    phases: dict[str, float] = field(default_factory=dict)


class Gate:
    """The side's end of the line to the runner."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)
        self._watch: Watch | None = None

    def ready(self, **facts: Any) -> None:
        """Say that all is built; facts stand in the results (flops: of one unit of work; shares: of a step's time)."""
        self._tell({"facts": facts, "versions": dict(_versions())})

    def wait(self) -> bool:
        """Sleep until the next round, which begins as this returns; False when there is none."""
        asked = bool(sys.stdin.readline())
        self._watch = Watch()
        return asked

    def answer(self, done: Done) -> None:
        """End the round."""
        assert self._watch is not None, "answer() without wait()"
        step = self._watch.stop(done.amount)
        self._tell({"step": asdict(step), "losses": list(done.losses), "phases": done.phases})

    def serve(self, work: Callable[[], Done]) -> None:
        """Call `work` once a round, until there is none."""
        while self.wait():
            self.answer(work())

    def _tell(self, message: dict[str, Any]) -> None:
        self._out.write(json.dumps(message) + "\n")


def _versions() -> list[tuple[str, str]]:
    found = []
    for name in PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:  # trl is not in our environment
            continue
    return found


def main() -> None:
    """Be the side that the command line names."""
    module, name = sys.argv[1].split(".")
    asked = json.loads(sys.argv[2])
    gate = Gate()
    if "tune" in asked:
        from llmtrain.launch import tuning  # the peers' environment has none

        tuning.apply(asked["tune"])
    importlib.import_module(f"bench.peers.{module}").SIDES[name](gate, asked)


if __name__ == "__main__":
    main()
