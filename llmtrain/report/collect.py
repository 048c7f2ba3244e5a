"""What a run directory holds, read as data that nobody vouches for: a damaged file is a note in the report.

Everything below works on these records and opens no file of its own but for answers.py and judge.py.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmtrain.doctor.examine import examine
from llmtrain.doctor.record import Record
from llmtrain.errors import LlmtrainError
from llmtrain.objectives.intervals import wilson
from llmtrain.run import directory, findings, lineage, metrics

H = ("helpful", "honest", "harmless")
LARGEST = 2**53  # a step beyond that no float can hold


@dataclass(frozen=True)
class Share:
    """A number; low and high are its 95 % interval where it is a share of n, else None."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class Found:
    """A finding of the doctor. run: of which stage or run, "" where there is one alone."""

    name: str
    severe: bool
    says: str
    steps: str
    advice: str


@dataclass
class Run:
    """A run and, of a pipeline, its stages. anchor: its id within the page. notes: what could not be read, and why."""

    path: Path
    label: str
    anchor: str
    command: str
    state: str
    config: dict[str, Any]
    result: dict[str, Any]
    lineage: dict[str, Any]
    record: Record
    found: list[Found]
    notes: list[str]
    stages: list["Run"] = field(default_factory=list)

    @property
    def everything(self) -> list["Run"]:
        return [self, *self.stages]

    def share(self, name: str) -> Share | None:
        """A number of the result with its interval, else the newest that was logged."""
        value = number(mapping(self.result.get("metrics")).get(name))
        if value is None and name == self.result.get("headline"):
            value = number(self.result.get("value"))
        if value is None:
            logged = self.record.all(name).values
            return self.measured(name, logged[-1]) if logged else None
        told = mapping(mapping(self.result.get("intervals")).get(name))
        ends = told.get("interval")
        low, high = map(number, ends) if isinstance(ends, list) and len(ends) == 2 else (None, None)
        n = number(told.get("n"))
        return Share(value, low, high, int(n) if n is not None else None)

    def measured(self, name: str, value: float) -> Share:
        """A value of the record with the interval that the counts of the run give it."""
        n = self.record.counts.get(name, 0)
        if n <= 0 or not 0 <= value <= 1:
            return Share(value)
        return Share(value, *wilson(value * n, n), n)

    @property
    def step(self) -> int:
        """How far it came."""
        told = number(self.result.get("step"))
        return int(told) if told is not None else max((n for w in self._windows() for n in w), default=0)

    def _windows(self) -> Iterator[tuple[int, ...]]:
        return (self.record.all(name).steps for name in self.record.names(""))

    @property
    def hhh(self) -> dict[str, dict[str, Share]]:
        """Model -> H -> share, as the result of an eval or a pipeline records it."""
        out = {}
        for label, rates in mapping(self.result.get("hhh")).items():
            found = {h: share for h in H if (share := _rate(mapping(rates).get(h)))}
            if found:
                out[str(label)] = found
        return out


def read(path: Path, label: str, anchor: str = "run") -> Run:
    """The run in `path`, with its stages when it is a pipeline. Raises RunError when it is none."""
    config = directory.read_config(path)
    notes: list[str] = []
    result = _told(notes, lambda: directory.read_result(path)) or {}
    state = directory.state(path)
    if state == "running":
        result = {}  # of an earlier life
    origin = _told(notes, lambda: lineage.read(path)) or {}
    record = _record(path, notes)
    run = Run(path, label, anchor, str(config.get("command")), state, config, result, origin, record, [], notes)
    run.found = _found(run)
    if run.command == "pipeline":
        run.stages = list(_stages(run))
        if "findings" not in result:
            run.found = [each for stage in run.stages for each in stage.found]
    return run


def _stages(run: Run) -> Iterator[Run]:
    inside = [path for path in run.path.iterdir() if (path / directory.CONFIG).is_file() and not path.is_symlink()]
    read_ones = []
    for n, path in enumerate(sorted(inside)):
        try:
            read_ones.append(read(path, path.name, f"{run.anchor}-{n}"))
        except LlmtrainError as error:
            run.notes.append(str(error))
    return iter(sorted(read_ones, key=lambda stage: (number(stage.lineage.get("created")) or 0, stage.label)))


def _told(notes: list[str], read_it: Any) -> Any:
    try:
        return read_it()
    except (LlmtrainError, OSError) as error:
        notes.append(str(error))
        return None


def _record(path: Path, notes: list[str]) -> Record:
    file, damaged, ends = path / "metrics.jsonl", 0, True
    record = Record(findings.read_counts(path))
    try:
        for row in metrics.parsed(file):
            ends = row is not None and 0 <= row["step"] <= LARGEST and _add(record, row)
            damaged += not ends
    except OSError as error:
        notes.append(f"{file.name}: cannot be read ({error.strerror})")
    if damaged and not ends and file.read_bytes()[-1:] != b"\n":
        damaged -= 1  # a line that is being written, or was when the run died
    if damaged:
        notes.append(f"{file.name}: {damaged} damaged lines were left out")
    return record


def _add(record: Record, row: dict[str, Any]) -> bool:
    try:
        record.add(row)
    except OverflowError:  # a whole number beyond any float
        return False
    return True


def _found(run: Run) -> list[Found]:
    """As the result records it; of a run that goes on, died, or is of an earlier version, what holds now."""
    told = run.result.get("findings")
    entries = told if isinstance(told, list) else [finding.plain() for finding in examine(run.record)]
    out = []
    for entry in map(mapping, entries):
        steps = entry.get("steps")
        first, last = steps if isinstance(steps, list) and len(steps) == 2 else ("", "")
        place = f"step {last}" if first == last else f"steps {first} to {last}"
        stage = entry.get("stage")
        name = f"{stage}: {entry.get('name')}" if stage else str(entry.get("name"))
        says, advice = str(entry.get("says", "")), str(entry.get("try", ""))
        out.append(Found(name, bool(entry.get("severe")), says, place, advice))
    return out


def _rate(value: Any) -> Share | None:
    told = mapping(value)
    rate, n = number(told.get("rate")), number(told.get("n"))
    if rate is None:
        return None
    return Share(rate, number(told.get("low")), number(told.get("high")), int(n) if n is not None else None)


def mapping(value: Any) -> dict[str, Any]:
    """The value where it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def number(value: Any) -> float | None:
    """The value where it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def read_json(file: Path) -> Any:
    """A JSON file, None where there is none that can be read."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted keys of nested mappings, and what they hold."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, f"{at}.{key}" if at else str(key))
    else:
        yield at, value
