"""Which numbers of a run become curves, and how many points of them: what a picture has room for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from llmtrain.report import draw
from llmtrain.report.collect import Run, mapping, number

HEIGHT = 204
NOISY = 60  # points from which on a line is drawn thin, with a running mean over it
SMOOTH = 40  # parts of a line that its running mean averages over one of


@dataclass(frozen=True)
class Panel:
    """A picture: metrics over the steps. unit: of the y axis; the lines are (metric, name)."""

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Key:
    """An entry of a legend. colour: 1 to 8; form: line, thin or dot."""

    colour: int
    name: str
    form: str


@dataclass(frozen=True)
class Chart:
    """A picture with its title and legend, which is HTML: names in it are escaped as all text is.

    mean: what the thick line is, where there is a thin one under it; note: what else is to be said, below.
    """

    title: str
    unit: str
    svg: Markup
    keys: tuple[Key, ...] = ()
    mean: str = ""
    note: str = ""


TRAIN, HELD = "training", "held out"
PANELS = (  # the most telling first
    Panel("Loss", "nats", (("train/loss", TRAIN), ("eval/loss", HELD))),
    Panel("Score of the judge", "", (("ppo/score", "rollouts"), ("eval/score", HELD))),
    Panel("Reward", "score less what the KL costs", (("ppo/reward", "rollouts"),)),
    Panel(
        "Gold grades",
        "share that passes",
        (("gold/helpful", "helpful"), ("gold/honest", "honest"), ("gold/harmless", "harmless")),
    ),
    Panel("KL to the reference", "nats per answer", (("ppo/kl", "rollouts"), ("eval/kl", HELD))),
    Panel("Wins against the reference", "share", (("eval/win_rate", HELD),)),
    Panel("Pairs in the right order", "share", (("train/accuracy", TRAIN), ("eval/accuracy", HELD))),
    Panel("Margin", "nats", (("train/margin", TRAIN), ("eval/margin", HELD))),
    Panel(
        "Implicit rewards",
        "nats",
        (("train/reward_chosen", "better answer"), ("train/reward_rejected", "worse answer")),
    ),
    Panel("Log-loss of the order", "nats", (("eval/log_loss", HELD),)),
    Panel("Perplexity", "", (("eval/perplexity", HELD),)),
    Panel("Bits per byte", "", (("eval/bits_per_byte", HELD),)),
    Panel("Clip fraction", "share of tokens", (("train/clipfrac", "updates"),)),
    Panel("Entropy", "nats per token", (("ppo/entropy", "rollouts"),)),
    Panel("Length", "tokens per answer", (("ppo/length", "rollouts"), ("eval/length", HELD))),
    Panel("Answers that end", "share", (("ppo/ended", "rollouts"), ("eval/ended", HELD))),
    Panel("Value loss", "", (("train/value_loss", "critic"),)),
    Panel("Explained variance", "of the returns", (("ppo/explained_variance", "critic"),)),
    Panel("Policy loss", "", (("train/policy_loss", "updates"),)),
    Panel("Learning rate", "", (("train/lr", TRAIN),)),
    Panel("Gradient norm", "before clipping", (("train/grad_norm", TRAIN),)),
    Panel("Speed", "tokens per second", (("time/tokens_per_second", TRAIN),)),
)
POINTS = ("eval/", "gold/")  # measured now and then: drawn as points, with intervals where they are shares
SHARES = ("share",)
EXACT = ("train/lr",)  # without noise


def charts(run: Run, columns: int) -> list[Chart]:
    """The curves of a run; those without two points are left out. columns: how many a line has at most."""
    kept = number(run.result.get("kept"))
    if kept == run.step and not mapping(run.config.get("loop")).get("keep_best"):
        kept = None  # the newest weights, as always
    return [_chart(run, panel, columns, kept) for panel in PANELS if _drawable(run, panel)]


def _drawable(run: Run, panel: Panel) -> bool:
    return any(len(run.record.all(name).values) > 1 for name, _ in panel.lines)


def _chart(run: Run, panel: Panel, columns: int, kept: float | None) -> Chart:
    keys, smooth = [], 0

    def paint(axes: Axes) -> None:
        nonlocal smooth
        for n, (metric, name) in enumerate(panel.lines):
            window = run.record.all(metric)
            if not window.values:
                continue
            if metric.startswith(POINTS):
                _points(axes, run, metric, draw.SERIES[n])
                keys.append(Key(n + 1, name, "dot"))
            else:
                steps, values = np.asarray(window.steps, float), np.asarray(window.values, float)
                smooth = max(smooth, line(axes, steps, values, draw.SERIES[n], columns, metric not in EXACT))
                keys.append(Key(n + 1, name, "line"))
        frame(axes, panel.unit)
        mark(axes, kept)

    svg = draw.picture(HEIGHT, f"{panel.title} of {run.command} over the steps", paint)
    return Chart(panel.title, panel.unit, svg, tuple(keys), f"mean of {smooth}" if smooth else "")


def line(axes: Axes, steps: np.ndarray, values: np.ndarray, colour: str, columns: int, noisy: bool) -> int:
    """A curve; a noisy one as a thin line under its running mean. Returns what that averages over, 0 without it."""
    if len(values) < NOISY:
        axes.plot(steps, values, color=colour, linewidth=1.5, marker="o", markersize=2.2)
        return 0
    if not noisy:
        axes.plot(*thinned(steps, values, columns), color=colour, linewidth=1.5)
        return 0
    width = max(3, len(values) // SMOOTH)
    axes.plot(*thinned(steps, values, columns), color=colour, linewidth=0.6, alpha=0.45)
    mean = running_mean(values, width)
    axes.plot(*thinned(steps, mean, max(8, columns // 2)), color=colour, linewidth=1.6)
    return width


def _points(axes: Axes, run: Run, metric: str, colour: str) -> None:
    window = run.record.all(metric)
    shares = [run.measured(metric, value) for value in window.values]
    form: dict[str, Any] = {"color": colour, "linewidth": 1.2, "marker": "o", "markersize": 4.2, "markeredgewidth": 1}
    if len(shares) <= NOISY and all(share.low is not None for share in shares):
        low = [max(0.0, s.value - (s.low or 0.0)) for s in shares]
        high = [max(0.0, (s.high or 0.0) - s.value) for s in shares]
        axes.errorbar(window.steps, window.values, yerr=[low, high], elinewidth=1, capsize=0, **form)
    else:
        steps, values = thinned(np.asarray(window.steps, float), np.asarray(window.values, float), 2 * NOISY)
        axes.plot(steps, values, **form | ({"marker": ""} if len(values) > NOISY else {}))


def frame(axes: Axes, unit: str) -> None:
    """What all curves share: the x axis, and 0 to 1 for what is a share."""
    axes.set_xlabel("step", loc="right", labelpad=1, fontsize=11)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    axes.margins(x=0.03)
    if unit.startswith(SHARES):
        low, high = axes.get_ylim()
        axes.set_ylim(max(-0.03, low), min(1.03, high))


def mark(axes: Axes, kept: float | None) -> None:
    """A line at the step whose weights were kept."""
    if kept is not None:
        axes.axvline(kept, color=draw.MUTED, linewidth=0.9, dashes=(3, 2), zorder=0)
        on_left = kept > sum(axes.get_xlim()) / 2
        axes.annotate(
            "kept",
            (kept, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-3 if on_left else 3, -1),
            textcoords="offset points",
            ha="right" if on_left else "left",
            va="top",
            color=draw.MUTED,
            fontsize=10.5,
        )


def thinned(steps: np.ndarray, values: np.ndarray, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest point of each of `columns` equal parts, in order: no spike gets lost."""
    if len(values) <= 2 * columns:
        return steps, values
    edges = np.linspace(0, len(values), columns + 1).astype(int)
    ends = ({a + values[a:b].argmin(), a + values[a:b].argmax()} for a, b in zip(edges, edges[1:], strict=False))
    at = sorted({int(n) for pair in ends for n in pair} | {0, len(values) - 1})
    return steps[at], values[at]


def running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """The mean of the `width` values around each one; of those that there are at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    low, high = np.maximum(at - width // 2, 0), np.minimum(at + (width + 1) // 2, len(values))
    return (sums[high] - sums[low]) / (high - low)


def overlaid(runs: Sequence[Run], columns: int) -> list[Chart]:
    """A picture for each metric that two of the runs have, a colour a run."""
    out = []
    for panel in PANELS:
        for metric, name in panel.lines:
            having = [(n, run) for n, run in enumerate(runs) if len(run.record.all(metric).values) > 1]
            if len(having) > 1:
                title = panel.title if len(panel.lines) == 1 else f"{panel.title}, {name}"
                out.append(_overlay(metric, title, panel.unit, having, columns))
    return out


def _overlay(metric: str, title: str, unit: str, having: list[tuple[int, Run]], columns: int) -> Chart:
    def paint(axes: Axes) -> None:
        for n, run in having:
            window = run.record.all(metric)
            steps, values = np.asarray(window.steps, float), np.asarray(window.values, float)
            if len(values) >= NOISY:
                values = running_mean(values, max(3, len(values) // SMOOTH))
            dots: dict[str, Any] = {"marker": "o", "markersize": 2.6} if len(values) < NOISY else {}
            style = "-" if n < len(draw.SERIES) else "--"
            colour = draw.SERIES[n % len(draw.SERIES)]
            axes.plot(*thinned(steps, values, columns // 2), color=colour, linewidth=1.4, linestyle=style, **dots)
        frame(axes, unit)

    return Chart(title, unit, draw.picture(HEIGHT, f"{title} of the runs over the steps", paint))
