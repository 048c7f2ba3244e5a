"""What `llmtrain runs --watch` shows: the runs that go on with their curves, then the tree, cut to the terminal."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from llmtrain.run import directory
from llmtrain.run.curves import draw
from llmtrain.run.listing import Entry, Line, color, lines, plain
from llmtrain.run.live import Live

CURVES: dict[str, tuple[str, ...]] = {  # of each command, the most telling first
    "pretrain": ("train/loss", "eval/loss", "train/grad_norm", "time/tokens_per_second"),
    "sft": ("train/loss", "eval/loss", "train/grad_norm", "time/tokens_per_second"),
    "reward": ("train/loss", "train/accuracy", "eval/accuracy", "time/tokens_per_second"),
    "ppo": ("ppo/score", "ppo/kl", "gold/min", "ppo/length"),
    "dpo": ("train/loss", "train/accuracy", "gold/min", "time/tokens_per_second"),
}
NAMES = {  # where they differ from the number's own
    "train/loss": "loss",
    "train/accuracy": "accuracy",
    "train/grad_norm": "grad norm",
    "time/tokens_per_second": "tok/s",
}
SIZES = (
    (8, 4),
    (6, 4),
    (5, 4),
    (4, 4),
    (3, 4),
    (3, 3),
    (2, 4),
    (2, 2),
    (1, 4),
    (1, 2),
    (1, 1),
    (1, 0),
)  # lines of a curve, curves of a run
TREE = 7  # lines that the tree keeps beside the curves
WIDE = 120  # columns from which curves stand two in a row
NAME, VALUE, EDGE = 15, 8, 8  # columns of a curve's name, its newest value, its range
STATE, STEP, AGE = 12, 7, 5  # columns of the tree
TOLD = 2  # findings of the doctor for a run


@dataclass
class Shot:
    """All runs at one moment; `going` are those that go on, newest first."""

    tops: list[Entry]
    going: list[tuple[Entry, Live]]


def frame(root: Path, shot: Shot, width: int, height: int, clock: str) -> list[Text]:
    """`height` lines of at most `width` columns."""
    tree = list(lines(shot.tops))
    room = height - 4  # the first and the last line have an empty one beside them
    panels = _panels(shot.going, width, room - min(len(tree), TREE))
    body = [line for panel in panels for line in (*panel, Text())]
    left = max(0, room - len(body))
    body += _tree(tree, width, left) if tree else [plain(f"no runs in {root} yet; try: llmtrain pipeline")]
    body = [*body, *[Text()] * room][:room]
    foot = Text("Ctrl-C ends the view; the runs go on", style="dim")
    out = [_head(root, tree, clock, width), Text(), *body, Text(), foot]
    for line in out:
        line.truncate(width, overflow="ellipsis")
    return out[: max(1, height)]


def _head(root: Path, tree: Sequence[Line], clock: str, width: int) -> Text:
    states = Counter(line.entry.state for line in tree)
    told = ", ".join(f"{n} {state}" for state, n in states.most_common())
    right = f"  {told}   {clock}" if told else f"  {clock}"
    left = plain(str(root))
    left.stylize("bold")
    left.truncate(max(0, width - len(right)), overflow="ellipsis", pad=True)
    return left.append(right, style="dim")


def _panels(going: Sequence[tuple[Entry, Live]], width: int, room: int) -> list[list[Text]]:
    """The running runs with curves as high and as many as there is room for, an empty line behind each."""

    def needed(size: tuple[int, int]) -> int:
        return sum(_height(live, width, *size) + 1 for _, live in going)

    high, many = next((size for size in SIZES if needed(size) <= room), SIZES[-1])
    panels = [_panel(entry, live, width, high, many) for entry, live in going]
    while panels and sum(len(panel) + 1 for panel in panels) > room:  # the tree still names the others
        panels.pop()
    return panels


def _height(live: Live, width: int, high: int, many: int) -> int:
    """Lines of _panel, without drawing it."""
    rows = len(_rows(live, width, many))
    return 1 + rows * high + _gap(high) * max(0, rows - 1) + len(live.findings[:TOLD])


def _panel(entry: Entry, live: Live, width: int, high: int, many: int) -> list[Text]:
    out, each = [_title(entry, live)], (width - 4) // 2 if width >= WIDE else width
    for i, names in enumerate(_rows(live, width, many)):
        out += [Text()] * (_gap(high) if i else 0)
        beside = [_curve(live, name, each, high) for name in names]
        out += [Text("    ").join(parts) for parts in zip(*beside, strict=True)]
    for finding in live.findings[:TOLD]:
        out.append(plain(f"  doctor: {finding.name}: {finding.seen.says}"))
        out[-1].stylize("red" if finding.severe else "yellow")
    return out


def _rows(live: Live, width: int, many: int) -> list[list[str]]:
    """The numbers whose curves stand side by side: those of which there are two values, one makes no curve."""
    names = [name for name in CURVES.get(live.command, ()) if live.record.last(name, 2)][:many]
    across = 2 if width >= WIDE else 1
    return [names[start : start + across] for start in range(0, len(names), across)]


def _gap(high: int) -> int:
    """Empty lines between curves: high ones would run into each other."""
    return 1 if high > 2 else 0


def _title(entry: Entry, live: Live) -> Text:
    name = plain(entry.label)
    name.stylize("bold")
    title = Text.assemble(("● ", "cyan"), name)
    left = live.seconds_left()
    if not live.step:
        return title.append("  nothing logged yet", style="dim")
    title.append(f"  step {live.step:,}" + (f"/{live.total:,}" if live.total else ""))
    return title.append(f"  {span(left)} left" if left is not None else "", style="cyan")


def _curve(live: Live, name: str, width: int, high: int) -> list[Text]:
    """Name and newest value, the curve, and the lowest and highest value at its end."""
    series = live.record.all(name)
    curve = draw(series.steps, series.values, max(1, width - NAME - VALUE - EDGE - 2), high)
    edges = [""] * high
    if high > 1:
        edges[0], edges[-1] = short(curve.high), short(curve.low)
    out = []
    for i, (strip, edge) in enumerate(zip(curve.lines, edges, strict=True)):
        head = f"  {NAMES.get(name, name)}" if i == 0 else ""
        value = short(series.values[-1]) if i == 0 else ""
        line = Text(f"{head:<{NAME}}").append(f"{value:>{VALUE}}", style="bold").append(" ")
        out.append(line.append(strip, style="cyan").append(f" {edge:<{EDGE}}", style="dim"))
    return out


def _tree(tree: Sequence[Line], width: int, room: int) -> list[Text]:
    """The lines that fit, in their order: what leads to a running run first, then what leads to the newest ones."""
    best: dict[Path, tuple[bool, float]] = {}
    for line in tree:
        key = (line.entry.state != "running", -(line.entry.created or 0))
        for path in (*line.above, line.entry.path):
            best[path] = min(best.get(path, key), key)
    fits = len(tree) <= room
    first = sorted(tree, key=lambda line: best[line.entry.path])[: room if fits else max(0, room - 1)]
    kept = {line.entry.path for line in first}
    broad = max((len(line.label) for line in first), default=0)
    name = min(broad, width // 2) + 2
    out = [_branch(line, name) for line in tree if line.entry.path in kept]
    if not fits:
        out.append(Text(f"… and {len(tree) - len(kept)} more; llmtrain runs lists all", style="dim"))
    return out


def _branch(line: Line, name: int) -> Text:
    entry = line.entry
    label = plain(line.label)
    label.truncate(name - 2, overflow="ellipsis")
    label.pad_right(name - label.cell_len)
    label.append(f"{entry.state:<{STATE}}", style=color(entry))
    label.append(f"{entry.step:>{STEP}}{line.age:>{AGE}}  ").append_text(plain(entry.headline))
    if entry.state in directory.DONE:
        label.stylize("dim")
    return label


def span(seconds: float) -> str:
    """50 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def short(value: float) -> str:
    """Three digits, thousands as such."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}"
