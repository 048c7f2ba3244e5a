"""The pictures that are no curves over the steps: shares with intervals, a judge's reliability and scores, proxy
against gold, settings of a sweep against their result.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from llmtrain.objectives.intervals import wilson
from llmtrain.report import draw
from llmtrain.report.collect import H, Run, Share
from llmtrain.report.curves import Chart, Key
from llmtrain.report.judge import Bin, Scores
from llmtrain.web.visible import visible

ROW = 28  # pixels of a model in a picture of shares
LABEL = 17  # characters of a name inside a picture
SPREAD = 20.0  # largest by smallest value from which on an axis of a sweep is logarithmic


def words(text: str) -> str:
    """A name inside a picture: short, and of letters that XML can hold."""
    text = re.sub(r"[\ufffe\uffff]", "\ufffd", visible(text)).replace("\n", " ")
    return text if len(text) <= LABEL else text[: LABEL - 1] + "…"


def forest(shares: Mapping[str, Mapping[str, Share]]) -> list[Chart]:
    """A picture an H: a model a row, its share as a dot on its interval."""
    names = list(shares)
    charts = []
    for number, h in enumerate(H):

        def paint(axes: Axes, h: str = h, colour: str = draw.SERIES[number]) -> None:
            for row, name in enumerate(names):
                share = shares[name].get(h)
                if share:
                    if share.low is not None and share.high is not None:
                        axes.plot([share.low, share.high], [row, row], color=colour, linewidth=5, alpha=0.3)
                    axes.plot([share.value], [row], color=colour, marker="o", markersize=7)
                    axes.text(1.06, row, f"{share.value:.2f}", va="center", ha="left", fontsize=12)
            axes.set_yticks(range(len(names)), [words(name) for name in names])
            axes.tick_params(axis="y", labelcolor=draw.INK)
            axes.set_ylim(len(names) - 0.4, -0.6)
            axes.set_xlim(-0.02, 1.02)
            axes.xaxis.set_major_locator(FixedLocator([0, 0.5, 1]))
            axes.grid(axis="x")
            axes.grid(visible=False, axis="y")

        svg = draw.picture(44 + ROW * len(names), f"{h}: share of each model", paint, left=108, right=44, bottom=26)
        charts.append(Chart(h, "", svg))
    return charts


def reliability(bins: Sequence[Bin]) -> Chart:
    """How often a judge is right against how sure it is; the area of a dot is that of its pairs."""

    def paint(axes: Axes) -> None:
        axes.plot([0.5, 1], [0.5, 1], color=draw.MUTED, linewidth=1, dashes=(4, 3))
        most = max(b.n for b in bins)
        for b in bins:
            low, high = wilson(b.accuracy * b.n, b.n)
            axes.plot([b.confidence] * 2, [low, high], color=draw.SERIES[0], linewidth=1.6, alpha=0.5)
            size = 4 + 10 * math.sqrt(b.n / most)
            axes.plot([b.confidence], [b.accuracy], color=draw.SERIES[0], marker="o", markersize=size, alpha=0.9)
        axes.plot(*zip(*[(b.confidence, b.accuracy) for b in bins], strict=True), color=draw.SERIES[0], linewidth=1)
        axes.set_xlim(0.48, 1.02)
        axes.set_ylim(min(0.45, *(b.accuracy - 0.05 for b in bins)), 1.03)
        axes.set_xlabel("probability that the judge gives its own order", fontsize=11)

    keys = (Key(1, "share in the right order, 95 % interval", "dot"),)
    svg = draw.picture(250, "reliability diagram: right against sure", paint, bottom=40)
    note = f"dashed: as sure as right; {sum(b.n for b in bins):,} pairs, a dot's area is its share of them"
    return Chart("Reliability", "share of pairs", svg, keys, note=note)


def histogram(scores: Scores) -> Chart:
    """Scores of the best answers of their prompts and of all others, as shares of each."""

    def paint(axes: Axes) -> None:
        for counts, colour in ((scores.others, draw.SERIES[1]), (scores.best, draw.SERIES[0])):
            total = max(1, sum(counts))
            heights = [n / total for n in counts]
            axes.stairs(heights, scores.edges, fill=True, color=colour, alpha=0.25)
            axes.stairs(heights, scores.edges, color=colour, linewidth=1.4)
        axes.set_xlabel("score", fontsize=11)

    keys = (
        Key(1, f"best answer ({sum(scores.best):,})", "line"),
        Key(2, f"the others ({sum(scores.others):,})", "line"),
    )
    return Chart("Scores", "share of each kind", draw.picture(250, "histogram of scores", paint, bottom=40), keys)


@dataclass(frozen=True)
class Point:
    """An evaluation: nats from the reference per answer, mean score of the judge, mean gold share."""

    step: int
    kl: float
    proxy: float
    gold: float


def points(run: Run) -> list[Point]:
    """The evaluations of a ppo run with gold grades.

    The policy evaluated after step n is the one whose rollout step n + 1 measured the KL of; the axis is that of Gao et
    al. 2022 (arXiv 2210.10760), as in evaluate/overoptimisation.py, which draws it beside the run.
    """
    at = {name: dict(zip(*run.record.all(name).__dict__.values(), strict=True)) for name in ("ppo/kl", "eval/score")}
    gold = [dict(zip(w.steps, w.values, strict=True)) for w in (run.record.all(f"gold/{h}") for h in H)]
    found = []
    for step, proxy in at["eval/score"].items():
        kl = at["ppo/kl"].get(step + 1, at["ppo/kl"].get(step, None if step else 0.0))
        if kl is not None and all(step in values for values in gold):
            found.append(Point(step, max(kl, 0.0), proxy, sum(values[step] for values in gold) / len(H)))
    return found


def against(runs: Mapping[str, Sequence[Point]]) -> list[Chart]:
    """Proxy and gold over the square root of the KL, a line a run, its last step a filled dot."""

    def painter(number: str) -> Chart:
        def paint(axes: Axes) -> None:
            for n, own in enumerate(runs.values()):
                colour = draw.SERIES[n % len(draw.SERIES)]
                x, y = [math.sqrt(p.kl) for p in own], [p.proxy if number == "proxy" else p.gold for p in own]
                axes.plot(x, y, color=colour, linewidth=1.2, marker="o", markersize=3, alpha=0.85)
                axes.plot(x[-1:], y[-1:], color=colour, marker="o", markersize=7)
                if len(runs) == 1:
                    place: dict[str, Any] = {"xytext": (2, -16), "textcoords": "offset points", "ha": "right"}
                    axes.annotate(f"step {own[-1].step}", (x[-1], y[-1]), **place)
            axes.set_xlabel("√KL to the reference, √nats per answer", fontsize=11)
            if number == "gold":
                axes.set_ylim(0, 1.03)

        title, unit = ("Proxy", "mean score of the judge") if number == "proxy" else ("Gold", "mean share of H passed")
        return Chart(title, unit, draw.picture(230, f"{title} over the KL", paint, bottom=40))

    return [painter("proxy"), painter("gold")]


def scatter(setting: str, values: Sequence[str], results: Sequence[float], metric: str) -> Chart:
    """The result of each run over one of its settings; numbers on a scale, words side by side."""
    numeric = [_float(value) for value in values]
    told = [x for x in numeric if x is not None]

    def paint(axes: Axes) -> None:
        form: dict[str, Any] = {
            "color": draw.SERIES[0],
            "linestyle": "none",
            "marker": "o",
            "markersize": 7,
            "alpha": 0.75,
        }
        if len(told) == len(values) and len(set(told)) > 1:
            axes.plot(told, results, **form)
            if min(told) > 0 and max(told) / min(told) > SPREAD:
                axes.set_xscale("log")
                axes.xaxis.set_minor_locator(NullLocator())
            if len(set(told)) <= 6:
                axes.xaxis.set_major_locator(FixedLocator(sorted(set(told))))
            axes.xaxis.set_major_formatter(lambda x, _: draw.short(x))
        else:
            kinds = list(dict.fromkeys(values))
            axes.plot([kinds.index(value) for value in values], results, **form)
            axes.set_xticks(range(len(kinds)), [words(kind) for kind in kinds])
            axes.set_xlim(-0.5, len(kinds) - 0.5)
        axes.margins(y=0.12)

    return Chart(metric, f"over {setting}", draw.picture(210, "result over a setting", paint, bottom=30, left=54))


def _float(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
