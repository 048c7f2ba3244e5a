"""The report card of a reward model: how often, how surely and how fairly it orders held-out answers.

Letters: P pairs of two answers to one prompt, A answers. Over all pairs at once (correctness B7); intervals count
prompts, whose pairs hang together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from llmtrain.loop.learner import Evaluation, Rate
from llmtrain.loop.stopping import numbers
from llmtrain.objectives import statistics
from llmtrain.objectives.intervals import wilson
from llmtrain.objectives.statistics import Bin

ALIKE = 2  # tokens that two answers of like length may differ by
SCORE_BINS = 24  # of the histogram of scores
APART = 3  # ranks between two answers from which on they count as far apart


@dataclass(frozen=True)
class Judged:
    """Pairs, the better answer first, and the answers they were made of."""

    d: Tensor  # [P] score of the better minus the worse answer
    longer: Tensor  # [P] tokens that the better answer is longer by
    margin: Tensor  # [P] ranks between the two
    prompt: Tensor  # [P] which prompt both answer
    k: Tensor  # [P] answers of that prompt
    scores: Tensor  # [A]
    best: Tensor  # [A] bool, no answer of its prompt has a better rank
    lengths: Tensor  # [A] tokens


def card(judged: Judged) -> Evaluation:
    """Accuracy over all pairs, by length difference, margin and K; log-loss, calibration, length bias."""
    d, longer, margin = judged.d, judged.longer, judged.margin
    values: Evaluation = {
        "eval/accuracy": rate(d, judged.prompt),
        "eval/log_loss": statistics.log_loss(d),
        "eval/brier": statistics.brier(d),
        "eval/ece": statistics.ece(d),
        "eval/confidence": statistics.mean_confidence(d),
        "eval/length_correlation": statistics.correlation(d, longer),
        "eval/score_length_correlation": statistics.correlation(judged.scores, judged.lengths),
    }
    parts = {
        "like_length": longer.abs() <= ALIKE,
        "better_longer": longer > ALIKE,
        "better_shorter": longer < -ALIKE,
        **{f"margin_{n}": margin == n for n in range(1, APART)},
        f"margin_{APART}_up": margin >= APART,
    }
    sizes = judged.k.unique().tolist()
    parts |= {f"k_{n}": judged.k == n for n in sizes if len(sizes) > 1}
    return values | {
        f"eval/accuracy_{name}": rate(d[at], judged.prompt[at]) for name, at in parts.items() if bool(at.any())
    }


def rate(d: Tensor, prompt: Tensor) -> Rate:
    """Share of pairs [P] in the right order, ties half; the interval counts their prompts [P]."""
    return Rate(float(statistics.correct(d).sum()), len(d), len(prompt.unique()))


def record(judged: Judged, shift: float) -> dict[str, Any]:
    """The bins of the reliability diagram and the histogram of the scores less `shift`, for a file.

    edges: SCORE_BINS + 1 of them, from the lowest to the highest score; best, others: answers between two of them.
    """
    scores = judged.scores.double().cpu() - shift
    low, high = float(scores.min()), float(scores.max())
    edges = torch.linspace(low, max(high, low + 1e-6), SCORE_BINS + 1, dtype=torch.float64)
    at = (torch.bucketize(scores, edges, right=True) - 1).clamp(0, SCORE_BINS - 1)
    best = judged.best.cpu()
    counts = {
        name: torch.bincount(at[own], minlength=SCORE_BINS).tolist()
        for name, own in (("best", best), ("others", ~best))
    }
    bins = [asdict(one) for one in statistics.calibration(judged.d)]
    return {"bins": bins, "scores": {"edges": edges.tolist(), **counts}}


def failed(values: Evaluation, threshold: float) -> list[str]:
    """The probes that a judge does not pass."""
    return sorted(name for name, value in numbers(values).items() if name.startswith("probe/") and value < threshold)


def table(cards: Mapping[str, Evaluation], failed: Mapping[str, Sequence[str]]) -> Table:
    """Report cards side by side, a column each: shares with 95 % intervals, then what the probes found.

    failed: the probes that a judge does not pass.
    """
    view = Table(title="report card of the judge, held-out prompts", title_justify="left")
    view.add_column("what")
    for label in cards:
        view.add_column(f"{label}\n[95 %]", justify="right")
    names = dict.fromkeys(name for values in cards.values() for name in values if name.startswith("eval/"))
    for name in names:
        view.add_row(_name(name, cards), *(_cell(values.get(name)) for values in cards.values()))
    if any(name.startswith("probe/") for values in cards.values() for name in values):
        view.add_row("true beats false of the same form\n(no gate)", *(_exams(values) for values in cards.values()))
        view.add_row("probes passed", *(_probes(values, failed[label]) for label, values in cards.items()))
    return view


def _name(name: str, cards: Mapping[str, Evaluation]) -> str:
    """A metric without its room, and over how many pairs it is where all cards agree on that."""
    counts = {value.n for values in cards.values() if isinstance(value := values.get(name), Rate)}
    return name.removeprefix("eval/") + (f" ({counts.pop()} pairs)" if len(counts) == 1 else "")


def _cell(value: float | Rate | None) -> str:
    if value is None:
        return ""
    if not isinstance(value, Rate):
        return f"{value:.3f}"
    low, high = value.interval(0.95)
    return f"{value.value:.3f} [{low:.2f}, {high:.2f}]"


def _shares(values: Evaluation, prefix: str) -> list[float]:
    return [v.value for name, v in values.items() if isinstance(v, Rate) and name.startswith(prefix)]


def _exams(values: Evaluation) -> str:
    exams = _shares(values, "exam/")
    return f"{sum(exams) / len(exams):.3f}" if exams else ""


def _probes(values: Evaluation, failed: Sequence[str]) -> str:
    probed = len(_shares(values, "probe/"))
    return "\n".join([f"{probed - len(failed)} of {probed}", *failed]) if probed else ""


def picture(judges: Mapping[str, Sequence[Bin]], path: Path) -> None:
    """Reliability: how often a judge is right against how sure it is; below, how many pairs stand behind each dot."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 5.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    upper.plot([0.5, 1], [0.5, 1], color="#9aa0a6", linewidth=1, linestyle="--", label="as sure as right")
    width = 0.08 / len(judges)
    for i, (label, bins) in enumerate(judges.items()):
        sure, right = [b.confidence for b in bins], [b.accuracy for b in bins]
        spread = [wilson(b.accuracy * b.n, b.n) for b in bins]
        below = [max(0.0, r - low) for r, (low, _) in zip(right, spread, strict=True)]
        above = [max(0.0, high - r) for r, (_, high) in zip(right, spread, strict=True)]
        upper.errorbar(sure, right, yerr=[below, above], marker="o", capsize=2, label=label)
        middles = [(b.low + b.high) / 2 + (i - (len(judges) - 1) / 2) * width for b in bins]
        lower.bar(middles, [b.n for b in bins], width * 0.92)
    upper.set_ylabel("share of pairs in the right order")
    upper.set_ylim(0, 1.02)
    upper.legend(frameon=False, loc="lower right")
    lower.set_ylabel("pairs")
    lower.set_xlabel("the judge's probability of the order it gives")
    lower.set_xlim(0.49, 1.01)
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
