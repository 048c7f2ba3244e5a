"""What a run without result has told so far: read as it grows, diagnosed when it was evaluated."""

import math
from pathlib import Path
from typing import Any

from llmtrain.doctor.examine import examine
from llmtrain.doctor.record import EVALUATION, Finding, Record
from llmtrain.errors import RunError
from llmtrain.run import directory, findings
from llmtrain.run.tail import Tail

RECENT = 50  # logged steps that the speed is taken from


class Live:
    """A run that goes on, or died. `look` reads what is new; the rest is as of the last look."""

    def __init__(self, path: Path):
        self.path = path
        self._tail = Tail(path / "metrics.jsonl")
        self.record = Record()
        self.findings: list[Finding] = []
        self.step = 0  # the last one logged
        self.command = ""
        self.total: int | None = None  # steps that the run is to take; None where only the run itself knows

    def look(self) -> None:
        """Read the rows that were logged since the last look; the doctor is asked after an evaluation."""
        anew, rows = self._tail.read()
        evaluated = any(name.startswith(EVALUATION) for row in rows for name in row)
        if anew:
            self.record, self.findings, self.step = Record(), [], 0
        if anew or evaluated:
            self.record.counts |= findings.read_counts(self.path)
        if anew:
            self._configured()
        for row in rows:
            self.record.add(row)
        self.step = int(rows[-1]["step"]) if rows else self.step
        if anew or evaluated:
            self.findings = examine(self.record)

    def _configured(self) -> None:
        try:
            config = directory.read_config(self.path)
        except RunError:
            config = {}
        self.command, self.total = str(config.get("command")), _steps(config, self.record.counts)

    def seconds_left(self) -> float | None:
        """Until all steps are done, evaluations included; None where nothing tells of it."""
        steps, trials = self.record.all("time/step_seconds"), self.record.all("time/eval_seconds")
        if self.total is None or not steps.values or self.step <= 0:
            return None
        recent = steps.values[-RECENT:]
        each = sum(recent) / len(recent) + sum(trials.values) / self.step
        return max(0, self.total - self.step) * each


def _steps(config: dict[str, Any], counts: dict[str, int]) -> int | None:
    """max_steps, or epochs over the training rows. A corpus is counted in tokens, which stand nowhere: None."""
    steps, epochs, batch = config.get("max_steps"), config.get("epochs"), config.get("batch")
    if isinstance(steps, int):
        return steps
    rows, n = (batch.get("rows") if isinstance(batch, dict) else None), counts.get("data/train")
    if not (isinstance(epochs, int | float) and isinstance(rows, int) and rows > 0 and n):
        return None
    return max(1, math.ceil(epochs * math.ceil(n / rows)))  # as setup.steps_of and Rows of data/order.py
