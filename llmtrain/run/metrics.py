"""metrics.jsonl: one JSON object a line, {"step": n, "train/loss": .., "time/..": ..}; the one truth for plots.

Only keys that start with `time/` depend on the machine: the rest of a resumed run's file equals an uninterrupted one's.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from llmtrain.errors import RunError
from llmtrain.run import durable
from llmtrain.run.directory import finite
from llmtrain.run.trackers import Tracker, open_trackers

log = logging.getLogger("llmtrain")
WHOLE = 300  # digits; the largest float has 309


class Metrics:
    """Appends to `path`, whole lines only.

    resume_step: the step that the run goes on from; what was logged after it is dropped, because it will be logged
    again. 0 and None begin anew. trackers: names of run/trackers.py. Raises RunError, ConfigError.
    """

    def __init__(self, path: Path, resume_step: int | None, trackers: tuple[str, ...] = ()):
        self.path = path
        self.latest: dict[str, float] = {}  # the newest value of each name
        try:
            kept, dropped = _keep(path, resume_step or 0)
            for row in kept:
                self._note(row)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise RunError(f"{path}: cannot be written ({error.strerror})") from error
        self._trackers: list[Tracker] = open_trackers(
            trackers, path.parent, resume_step or 0, frozenset((row["step"], name) for row in dropped for name in row)
        )

    def log(self, step: int, values: dict[str, float]) -> None:
        """Append one line; numbers that are not finite become null. A full disk costs the line, not the run."""
        row = finite({"step": step, **{name: float(value) for name, value in values.items()}})
        self._note(row)
        line = (json.dumps(row, allow_nan=False) + "\n").encode()
        end = os.fstat(self._file).st_size
        try:
            if os.write(self._file, line) < len(line):
                raise OSError("the disk is full")
        except OSError as error:
            os.ftruncate(self._file, end)  # no half line, so that the next one starts well
            log.warning("%s: step %d could not be logged (%s)", self.path, step, error)
        for tracker in list(self._trackers):
            self._track(tracker, step, {name: value for name, value in row.items() if value is not None})

    def _note(self, row: dict[str, Any]) -> None:
        self.latest |= {name: value for name, value in row.items() if name != "step" and not name.startswith("time/")}

    def sync(self) -> None:
        """Put the lines on the disk; called before a checkpoint that they lead up to is committed."""
        os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)
        for tracker in list(self._trackers):
            self._try(tracker, tracker.close)

    def _track(self, tracker: Tracker, step: int, values: dict[str, Any]) -> None:
        self._try(tracker, lambda: tracker.log(step, {name: v for name, v in values.items() if name != "step"}))

    def _try(self, tracker: Tracker, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # a service out of reach must not end a training run
            name = type(tracker).__name__
            log.warning("%s failed and is off from here on, metrics.jsonl goes on (%s)", name, error)
            self._trackers.remove(tracker)


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl; a half line at the end (a run that is writing, or died so) is left out."""
    return [row for row in parsed(path) if row is not None]


def parsed(path: Path) -> Iterator[dict[str, Any] | None]:
    """A row a line, None for a line that holds none; nothing without the file. Raises OSError."""
    if path.exists():
        with path.open("rb") as lines:
            yield from map(parse, lines)


def parse(line: bytes) -> dict[str, Any] | None:
    """The row in a line; None where it holds none, as a half line or a damaged one."""
    try:
        row = json.loads(line, parse_int=_whole)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


def _whole(digits: str) -> int:
    """A whole number that a float can hold as well: nobody who reads rows shall meet one that cannot be plotted."""
    if len(digits) > WHOLE:
        raise ValueError(digits)
    return int(digits)


def _keep(path: Path, step: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rewrite the file with the rows up to `step`, unless that is all there is; returns these rows and the others."""
    if not path.exists():
        return [], []
    there = read(path)
    kept = [row for row in there if step > 0 and row["step"] <= step]
    dropped = there if step == 0 else [row for row in there if row["step"] > step]
    text = "".join(json.dumps(row) + "\n" for row in kept)
    if text.encode() != path.read_bytes():
        durable.write_text(path, text)
    return kept, dropped
