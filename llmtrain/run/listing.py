"""`llmtrain runs`: the tree of runs, what came from what; and which of them a path names."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from llmtrain.errors import InitError, RunError
from llmtrain.run import directory, findings, lineage
from llmtrain.run.live import Live

COLORS = {"finished": "green", "stopped": "green", "running": "cyan", "failed": "red", "died": "red"}
OTHER_COLOR = "yellow"
REASON = 60  # characters of why a run failed
SKIPPED = ("checkpoints", "samples", "tensorboard", ".hydra")
COLUMNS: dict[str, Any] = {  # a sweep names its jobs after all their settings, a failed run tells why
    "run": {"overflow": "fold", "min_width": 36, "max_width": 40},
    "state": {"no_wrap": True, "min_width": 8},
    "step": {"no_wrap": True, "justify": "right"},
    "result": {"overflow": "fold", "min_width": 12},
    "age": {"no_wrap": True, "justify": "right"},
}
NAMED = 4  # runs that a message names
EXTENDED = ("pretrain", "sft", "ppo", "dpo")  # whose result can be what the same command begins with


@dataclass
class Entry:
    """A run and the runs that started from it."""

    path: Path
    label: str
    state: str
    step: str
    headline: str
    created: float | None
    others: list[str] = field(default_factory=list)  # parents beside the one it hangs under
    children: list["Entry"] = field(default_factory=list)


def run_at(path: Path) -> Path:
    """The run that `path` names. Raises InitError, which names runs near by, when it is none."""
    if (path / directory.CONFIG).is_file():
        return path
    if not path.is_dir():
        what = "is a file" if path.is_file() else "does not exist"
        near = [path.parent] if (path.parent / directory.CONFIG).is_file() else []
    else:
        what, near = "is not a run directory", _runs(path)
    named = ", ".join(map(str, near[-NAMED:]))
    raise InitError(f"{path} {what}; " + (f"name one of its runs: {named}" if near else "llmtrain runs lists the runs"))


def farewell(path: Path) -> str | None:
    """What to tell of a run that has nothing left to do; None for one that can go on."""
    result = directory.read_result(path)
    if result is None or result["status"] not in directory.DONE or str(result.get("reason")).startswith("max_time"):
        return None
    config = directory.read_config(path)
    if result["status"] == "finished" and (config.get("max_steps") or 0) > result.get("step", 0):
        return None  # somebody raised max_steps in its config.yaml
    command = config.get("command")
    more = f" init={path} max_steps=STEPS epochs=null" if command in EXTENDED else ""
    return (
        f"{path} is {result['status']} at step {result.get('step')}: {result.get('reason')}\n"
        f"to {'train on from it' if more else 'run it again'}: llmtrain {command} conf={path / directory.CONFIG}{more}"
    )


def table(root: str | Path) -> Table | None:
    """The runs under `root` as a rich table: children under the run they started from, oldest first; None without any.

    Raises InitError for a folder that is not there.
    """
    if not Path(root).is_dir():
        raise InitError(f"{root}: no such folder; llmtrain runs FOLDER takes the run.root of your runs")
    entries = forest(Path(root))
    if not entries:
        return None
    view = Table(title=f"runs in {root}", title_justify="left")
    for column, form in COLUMNS.items():
        view.add_column(column, **form)
    for line in lines(entries):
        cells = [plain(cell) for cell in (line.label, line.entry.state, line.entry.step, line.entry.headline, line.age)]
        cells[1].stylize(color(line.entry))
        view.add_row(*cells)
    return view


def forest(root: Path, told: Callable[[Path], Live] | None = None) -> list[Entry]:
    """The runs without a parent under `root`, each with its descendants.

    told: what a run without result has told so far; a caller that asks again and again keeps it.
    """
    root = root.resolve()
    entries = {path: _entry(path, root, told or _told) for path in _runs(root)}
    tops = []
    for path, entry in entries.items():
        above = _parents(path, entries)
        if above:
            entries[above[0]].children.append(entry)
            entry.others = [entries[p].label for p in above[1:]]
        else:
            tops.append(entry)
    return tops


def _runs(root: Path) -> list[Path]:
    """Directories with a config.yaml, by id; links are not followed."""
    found = []
    for folder, inside, files in os.walk(root):
        inside[:] = [name for name in inside if name not in SKIPPED]
        if directory.CONFIG in files:
            found.append(Path(folder))
    return sorted(found, key=lambda path: (directory.run_id(path), len(path.parts), _created(path) or 0, path))


def _parents(path: Path, entries: dict[Path, Entry]) -> list[Path]:
    """The runs that this one started from, the one of `init` first; a stage of a pipeline hangs at least under it."""
    try:
        recorded = lineage.parents(path)
    except RunError:
        recorded = {}
    above: list[Path] = []
    for role in sorted(recorded, key=lambda role: role != "init"):
        run = next((folder for folder in recorded[role].parents if folder in entries), None)
        if run and run != path and run not in above and path not in _ancestors(run, entries):
            above.append(run)
    if not above and path.parent in entries and path not in _ancestors(path.parent, entries):
        above.append(path.parent)
    return above


def _ancestors(run: Path, entries: dict[Path, Entry]) -> set[Path]:
    """Everything that hangs over `run` already; a forged record must not close a circle."""
    over: set[Path] = set()
    holders = {child.path: path for path, entry in entries.items() for child in entry.children}
    while run in holders:
        run = holders[run]
        over.add(run)
    return over


def _entry(path: Path, root: Path, told: Callable[[Path], Live]) -> Entry:
    state = directory.state(path)
    result: dict[str, Any] = {}
    if state not in ("running", "died"):
        result = directory.read_result(path) or {}
    live = None if result else told(path)
    step = live.step if live else result.get("step", 0)
    sick = list(dict.fromkeys(f.name for f in live.findings)) if live else findings.names(result)
    headline = "; ".join(filter(None, (_headline(result), "doctor: " + ", ".join(sick) if sick else "")))
    return Entry(path, str(path.relative_to(root)), state, str(step), headline, _created(path))


def _told(path: Path) -> Live:
    live = Live(path)
    live.look()
    return live


def _headline(result: dict[str, Any]) -> str:
    if result.get("status") in ("failed", "interrupted"):
        return str(result.get("reason", ""))[:REASON]
    name = result.get("headline")
    value = result.get("value", (result.get("metrics") or {}).get(name))
    return f"{name} {value:.4g}" if isinstance(value, int | float) else ""


def _created(path: Path) -> float | None:
    try:
        created = lineage.read(path).get("created")
    except RunError:
        return None
    return created if isinstance(created, int | float) else None


def _age(created: float | None) -> str:
    if created is None:
        return "?"
    seconds = max(0.0, time.time() - created)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


@dataclass(frozen=True)
class Line:
    """A run as a line of the tree."""

    label: str
    entry: Entry
    above: tuple[Path, ...]  # the runs that it hangs under

    @property
    def age(self) -> str:
        return _age(self.entry.created)


def lines(entries: Sequence[Entry], above: tuple[Path, ...] = ()) -> Iterator[Line]:
    """The tree from top to bottom; what lies in a run above is named from there on."""
    for entry in entries:
        inside = next((run for run in reversed(above) if run in entry.path.parents), None)
        label = str(entry.path.relative_to(inside)) if inside else entry.label
        others = [other.removeprefix(entry.label.removesuffix(label)) for other in entry.others]
        branch = "  " * (len(above) - 1) + "└ " if above else ""
        yield Line(branch + " ← ".join([label, *others]), entry, above)
        yield from lines(entry.children, (*above, entry.path))


def plain(cell: str) -> Text:
    """Without markup, control characters as question marks: names and reasons come from anywhere."""
    return Text("".join(c if c.isprintable() else "?" for c in cell))


def color(entry: Entry) -> str:
    return COLORS.get(entry.state, OTHER_COLOR)
