"""What a person sees while a run goes on: a bar on a terminal, a line every few seconds elsewhere."""

import logging
import math
import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from llmtrain.run.curves import draw

log = logging.getLogger("llmtrain")
LINE_EVERY = 10.0  # seconds between lines where there is no terminal
CURVE = 10  # characters of the curve of the first number
KEPT = 512  # points of it; when there are more, every other goes


class CurveColumn(ProgressColumn):
    """The first number of the line as a small curve; drawn when the line is, not at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.points: list[tuple[int, float]] = []  # one list: a thread of the display reads while steps are noted

    def note(self, step: int, value: float) -> None:
        if math.isfinite(value):
            self.points.append((step, value))
        if len(self.points) > KEPT:
            del self.points[1:-1:2]

    def render(self, task: Task) -> Text:
        points = list(self.points)
        drawn = draw([step for step, _ in points], [value for _, value in points], CURVE, 1).lines if points else [""]
        return Text(drawn[0], style="cyan")


class Meter:
    """Progress of `total` steps. Use as a context manager; `show` is cheap and may be called at every step."""

    def __init__(self, title: str, total: int, start: int, *, enabled: bool):
        self.title, self.total = title, total
        self._last = 0.0
        self._bar: Progress | None = None
        self._task: Any = None
        self._curve = CurveColumn()
        if enabled and sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=10),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("<"),
                TimeRemainingColumn(),
                self._curve,
                TextColumn("{task.fields[numbers]}"),
                console=Console(stderr=True),
                refresh_per_second=4,
            )
            self._task = self._bar.add_task(title, total=total, completed=start, numbers="")
        self._enabled = enabled

    def __enter__(self) -> "Meter":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, step: int, numbers: dict[str, float], seconds_left: float) -> None:
        """numbers: what to print, name -> value, in order."""
        text = "  ".join(f"{name} {_short(value)}" for name, value in numbers.items())
        if self._bar:
            self._curve.note(step, next(iter(numbers.values()), math.nan))
            self._bar.update(self._task, completed=step, numbers=text)
            return
        now = time.monotonic()
        if self._enabled and (now - self._last >= LINE_EVERY or step == self.total):
            self._last = now
            left = time.strftime("%H:%M:%S", time.gmtime(max(0.0, seconds_left)))
            log.info("%s %d/%d  %s  left %s", self.title, step, self.total, text, left)


def _short(value: float) -> str:
    if value != value:
        return "nan"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
