"""What came from what, as a picture: the runs from the oldest down, beside them an arc from each to what it made."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from llmtrain.errors import LlmtrainError
from llmtrain.report.collect import Run, mapping, number, read
from llmtrain.run import directory

HEIGHT = 44  # pixels of a row, in the style sheet as well
RAIL = 84  # pixels beside the rows that the arcs have
MOST = 40  # runs that are drawn
STYLES = {"init": "a1", "judge": "a2", "data": "a3"}  # role -> class of its arc; any other role has a4


@dataclass(frozen=True)
class Row:
    """A run of the tree. own: it has a part in this page, to which `run.anchor` leads."""

    run: Run
    own: bool
    made_of: str  # "init from sft, judge from reward"


@dataclass(frozen=True)
class Tree:
    """The rows from the oldest on, and the arcs that stand beside them. left_out: runs that there was no room for."""

    rows: list[Row]
    arcs: Markup
    roles: list[tuple[str, str]]  # class of an arc, what it stands for
    left_out: int


def tree(runs: Sequence[Run]) -> Tree:
    """The runs, what they started from, and so on upwards as far as it is there."""
    own = {run.path.resolve(): run for top in runs for run in (top.stages or [top])}
    known, edges = dict(own), list[tuple[Path, Path, str]]()
    queue = list(own)
    while queue:
        path = queue.pop(0)
        for role, parent in _parents(known[path]):
            if parent not in known:
                above = _outside(parent, len(known))
                if above is None or len(known) >= 2 * MOST:
                    continue
                known[parent] = above
                queue.append(parent)
            if parent != path:
                edges.append((parent, path, _kind(role)))
    order = sorted(known, key=lambda path: (number(known[path].lineage.get("created")) or 0, str(path)))
    shown, at = order[:MOST], {path: n for n, path in enumerate(order[:MOST])}
    drawn = [(a, b, role) for a, b, role in dict.fromkeys(edges) if a in at and b in at]
    rows = [Row(known[path], path in own, _made_of(path, drawn, known)) for path in shown]
    spans = [(min(at[a], at[b]), max(at[a], at[b]), role) for a, b, role in drawn]
    arcs = "".join(_arc(*each) for each in _lanes(spans)) + "".join(map(_dot, range(len(rows)), rows))
    box = f'<svg class="arcs" width="{RAIL}" height="{HEIGHT * len(rows)}" aria-hidden="true">{arcs}</svg>'
    roles = dict.fromkeys(role for _, _, role in drawn)
    return Tree(rows, Markup(box), [(STYLES.get(role, "a4"), role) for role in roles], len(order) - len(shown))


def _kind(role: str) -> str:
    """`policy 0`, `models[0]` and `init` are weights that a run began with or looked at."""
    return role if role in ("judge", "data", "reference") else "judge" if role == "judged_by" else "init"


def _parents(run: Run) -> Iterator[tuple[str, Path]]:
    """Role and run of what a run started from: models by their record, files of other runs by the configuration."""
    for role, entry in mapping(run.lineage.get("parents")).items():
        stored = mapping(entry).get("path")
        found = _run_of(run.path, stored) if isinstance(stored, str) else None
        if found:
            yield role, found
    given = mapping(run.config.get("data")).get("path")
    for stored in given if isinstance(given, list) else []:
        found = _run_of(run.path, stored) if isinstance(stored, str) else None
        if found:
            yield "data", found


def _run_of(base: Path, stored: str) -> Path | None:
    """The run that a recorded path lies in; relative ones are relative to the run that recorded them."""
    try:
        path = Path(os.path.normpath(base.resolve() / stored))
        return next((folder for folder in (path, *path.parents) if (folder / directory.CONFIG).is_file()), None)
    except (OSError, ValueError):  # a name that no file can have
        return None


def _outside(path: Path, number: int) -> Run | None:
    """A run that is only an ancestor of those that the report is about; by its command, and where it is."""
    whole = directory.ID.fullmatch(path.name)
    label = "/".join(path.parts[-3:]) if whole else f"{path.name} in {'/'.join(path.parts[-4:-1])}"
    try:
        return read(path, label, f"from-{number}")
    except (LlmtrainError, OSError):
        return None


def _made_of(path: Path, edges: list[tuple[Path, Path, str]], known: dict[Path, Run]) -> str:
    return ", ".join(dict.fromkeys(f"{role} from {known[a].label}" for a, b, role in edges if b == path))


def _lanes(spans: list[tuple[int, int, str]]) -> list[tuple[int, int, str, float]]:
    """Each span with the way its arc goes to the left, so that none lies on another: short ones inside."""
    lanes: list[list[tuple[int, int]]] = [[]]  # the first is the line through the dots
    placed = []
    for top, bottom, role in sorted(spans, key=lambda span: (span[1] - span[0], span)):
        first = 0 if bottom - top == 1 else 1
        free = (n for n, lane in enumerate(lanes) if n >= first and all(bottom <= a or b <= top for a, b in lane))
        number = next(free, len(lanes))
        lanes += [[] for _ in range(number + 1 - len(lanes))]
        lanes[number].append((top, bottom))
        placed.append((top, bottom, role, number))
    step = min(14.0, (RAIL - 20) / max(1, len(lanes) - 1))
    return [(top, bottom, role, number * step) for top, bottom, role, number in placed]


def _arc(top: int, bottom: int, role: str, out: float) -> str:
    """From one row to another, `out` pixels to the left of the dots; a straight line where that is none."""
    y, end, x = (top + 0.5) * HEIGHT, (bottom + 0.5) * HEIGHT, RAIL - 12
    left, bend = x - out, min(HEIGHT / 2, (end - y) / 2)
    way = f"M{x} {y:g}Q{left:g} {y:g} {left:g} {y + bend:g}V{end - bend:g}Q{left:g} {end:g} {x} {end:g}"
    return f'<path class="{STYLES.get(role, "a4")}" d="{way}"/>'


def _dot(n: int, row: Row) -> str:
    return f'<circle class="{"own" if row.own else "other"}" cx="{RAIL - 12}" cy="{(n + 0.5) * HEIGHT:g}" r="5"/>'
