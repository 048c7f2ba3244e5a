"""The pictures of RESULTS.md. Each function says whether there was anything to draw."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.peers.figures import Figures
from bench.peers.works import FLOOR

INK, MUTED, LINE, PAPER, ACCENT = "#1f2328", "#59636e", "#d1d9e0", "#ffffff", "#0b6bcb"
SERIES = (ACCENT, "#9a6700", "#59636e", "#8250df", "#1a7f37")
PHASES = ("rollout", "judge", "score", "update")  # in the order they come
STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "llmtrain", "font.size": 10, "text.color": INK, "axes.labelcolor": MUTED,
    "font.family": ["sans-serif"], "axes.edgecolor": LINE, "axes.spines.top": False,
    "axes.spines.right": False, "xtick.color": MUTED, "ytick.color": INK, "axes.titlesize": 11, "axes.axisbelow": True,
    "figure.facecolor": PAPER, "axes.facecolor": PAPER, "legend.frameon": False, "lines.linewidth": 1.4,
}  # fmt: skip


@contextmanager
def _drawn(file: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure in inches, written behind the block, the same bytes for the same numbers."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure
        figure.savefig(file, format="svg", metadata={"Date": None})


def ratios(found: list[Figures], file: Path) -> bool:
    """A bar for each contest and peer: our rate over theirs; a mark where the target is."""
    bars: list[tuple[str, float, float | None]] = []
    for figures in found:
        wanted = {t.base: t.factor for t in figures.targets if not t.most}
        peers = [s for s in figures.sides if s != FLOOR and not s.startswith("llmtrain")]
        if any(t.most for t in figures.targets):
            continue
        bars += [(f"{figures.name}: {p}", figures.timings.ratio(figures.ours, p), wanted.get(p)) for p in peers]
    if not bars:
        return False
    with _drawn(file, 7.6, 0.8 + 0.3 * len(bars)) as figure:
        axes = figure.add_subplot()
        places = range(len(bars), 0, -1)
        axes.barh(places, [value for _, value, _ in bars], height=0.55, color=ACCENT)
        axes.axvline(1, color=MUTED, linewidth=0.8)
        for place, (_, value, wanted) in zip(places, bars, strict=True):
            _beside(axes, max(value, wanted or 0), place, f"{value:.2f}x")
            if wanted:
                axes.plot([wanted, wanted], [place - 0.38, place + 0.38], color=INK, linewidth=2, solid_capstyle="butt")
        axes.set_yticks(list(places), [name for name, _, _ in bars])
        axes.tick_params(left=False)
        axes.spines["left"].set_visible(False)
        axes.set_xlim(0, 1.15 * max(max(v, w or 0) for _, v, w in bars))
        axes.set_xlabel("llmtrain's work per second over theirs; black marks: targets")
        axes.grid(axis="x", color=LINE, linewidth=0.6)
    return True


def curves(found: list[Figures], file: Path) -> bool:
    """The loss of each step, the sides over each other: ours a broad line, the peers' narrow ones on top."""
    shown = [f for f in found if f.result["curves"]]
    if not shown:
        return False
    across = min(2, len(shown))
    down = -(-len(shown) // across)
    with _drawn(file, 3.9 * across, 2.7 * down) as figure:
        for number, figures in enumerate(shown, 1):
            axes = figure.add_subplot(down, across, number)
            axes.set_title(figures.name, loc="left")
            sides = sorted(figures.result["curves"], key=lambda s: s != figures.ours)
            for side, colour, style in zip(sides, SERIES, ("-", "-", ":", "--", "-."), strict=False):
                losses, own = figures.sides[side]["losses"], side == figures.ours
                steps = range(1, len(losses) + 1)
                axes.plot(
                    steps, losses, style, color=colour, label=side, linewidth=4 if own else 1.3, alpha=0.4 if own else 1
                )
            axes.set_xlabel("optimizer step")
            axes.set_ylabel("loss")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(color=LINE, linewidth=0.6)
            axes.legend(fontsize=8)
    return True


def phases(found: list[Figures], file: Path) -> bool:
    """A bar for each side that told its phases, stacked."""
    rows = [(f"{f.name}: {side}", seconds) for f in found for side, seconds in f.phases().items()]
    if not rows:
        return False
    known = {name for _, seconds in rows for name in seconds}
    names = [*(name for name in PHASES if name in known), *sorted(known - set(PHASES))]
    with _drawn(file, 7.6, 1.0 + 0.4 * len(rows)) as figure:
        axes = figure.add_subplot()
        for place, (_, seconds) in enumerate(reversed(rows)):
            start = 0.0
            for name, colour in zip(names, SERIES, strict=False):
                took = seconds.get(name, 0.0)
                axes.barh(place, took, left=start, height=0.55, color=colour, label=name if not place else None)
                start += took
            _beside(axes, start, place, f"{start:.2f} s")
        axes.set_yticks(range(len(rows)), [name for name, _ in reversed(rows)])
        axes.tick_params(left=False)
        axes.spines["left"].set_visible(False)
        axes.set_xlim(0, 1.15 * max(sum(seconds.values()) for _, seconds in rows))
        axes.set_xlabel("seconds of an iteration")
        axes.grid(axis="x", color=LINE, linewidth=0.6)
        axes.legend(ncols=len(names), loc="lower left", bbox_to_anchor=(0, 1), fontsize=9)
    return True


def _beside(axes: Axes, x: float, y: float, text: str) -> None:
    axes.annotate(text, (x, y), (5, 0), textcoords="offset points", va="center", color=INK)
