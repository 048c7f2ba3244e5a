"""Proxy against gold: the judge's score and the gold grades of the same answers, over the square root of the KL.

When the proxy goes on rising while gold falls, the policy optimises what the judge gets wrong. The axis is that of
Gao et al. 2022 (arXiv 2210.10760), who found both to be simple functions of it.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from llmtrain.evaluate.hhh import H


@dataclass(frozen=True)
class Point:
    """One evaluation of a ppo run."""

    step: int
    kl: float  # nats per response
    proxy: float  # mean score of the judge
    gold: dict[str, float]  # share of prompts passed, per H


def points(rows: Iterable[Mapping[str, float]]) -> list[Point]:
    """The evaluations among the rows of metrics.jsonl that have gold grades.

    The policy that was evaluated after step n is the one whose rollout the next step measured the KL of.
    """
    rows = list(rows)
    kl = {row["step"]: row["ppo/kl"] for row in rows if "ppo/kl" in row}
    found = []
    for row in rows:
        if "eval/score" in row and all(f"gold/{h}" in row for h in H):
            step, gold = int(row["step"]), {h: row[f"gold/{h}"] for h in H}
            nats = kl.get(step + 1, kl.get(step, None if step else 0.0))
            if nats is not None:  # log.every may have left it out
                found.append(Point(step, max(nats, 0.0), row["eval/score"], gold))
    return found


def picture(runs: Mapping[str, list[Point]], path: Path) -> None:
    """Two panels over sqrt(KL): the judge's score, and the mean gold share of the three H; a line a run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 5.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for i, (name, run) in enumerate(runs.items()):
        x, style = [math.sqrt(p.kl) for p in run], {"color": f"C{i}", "marker": ".", "linewidth": 1.2}
        above.plot(x, [p.proxy for p in run], label=name, **style)
        below.plot(x, [sum(p.gold.values()) / len(H) for p in run], **style)
        above.annotate(f"step {run[-1].step}", (x[-1], run[-1].proxy), fontsize=7)
    above.set_ylabel("proxy: mean score of the judge")
    below.set_ylabel("gold: mean share of H passed")
    below.set_xlabel("√KL to the reference (√nats per response)")
    below.set_ylim(0, 1)
    above.legend(frameon=False)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
