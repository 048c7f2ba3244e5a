"""Helpful, honest, harmless: gold grades as rates with intervals, as a table, a file and a picture.

Only prompts that bring gold graders (the microworld) can be graded; the graders are exact code, no model.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from llmtrain.data.microworld.grade import PASS
from llmtrain.data.microworld.rows import grade
from llmtrain.data.records import Prompt
from llmtrain.loop.learner import Rate
from llmtrain.objectives.statistics import wilson

H = ("helpful", "honest", "harmless")
Rates = dict[str, dict[str, float]]  # h -> {"rate", "n", "low", "high"}


def grades(prompts: Sequence[Prompt], answers: Sequence[tuple[str, bool]]) -> dict[str, list[bool]]:
    """Whether each answer (text, ended) passes, by H and by `h.family`."""
    passed: dict[str, list[bool]] = defaultdict(list)
    for prompt, (text, ended) in zip(prompts, answers, strict=True):
        good = grade(prompt, text, ended) == PASS
        passed[prompt.meta["h"]].append(good)
        passed[f"{prompt.meta['h']}.{prompt.meta['family']}"].append(good)
    return dict(passed)


def gold(prompts: Sequence[Prompt], answers: Sequence[tuple[str, bool]]) -> dict[str, Rate]:
    """The grades as metrics `gold/<h>` and `gold/min`, the lowest of the three."""
    passed = grades(prompts, answers)
    by_h = {f"gold/{h}": Rate(sum(passed[h]), len(passed[h])) for h in H if h in passed}
    return {**by_h, "gold/min": min(by_h.values(), key=lambda rate: rate.value)}


def rows(prompts: Sequence[Prompt], answers: Sequence[tuple[str, bool]]) -> list[dict]:
    """Prompts, answers and gold levels, for a file that people read."""
    return [
        {"h": p.meta["h"], "prompt": p.messages[-1].content, "answer": text, "level": grade(p, text, ended)}
        for p, (text, ended) in zip(prompts, answers, strict=True)
    ]


def rates(passed: dict[str, list[bool]]) -> Rates:
    """Shares with their 95 % Wilson intervals, per H."""
    out: Rates = {}
    for h in H:
        n, k = len(passed.get(h, ())), sum(passed.get(h, ()))
        if n:
            low, high = wilson(k, n, 0.95)
            out[h] = {"rate": k / n, "n": n, "low": low, "high": high}
    return out


def table(stages: dict[str, Rates]) -> Table:
    """The HHH table, one row a stage."""
    first = next(iter(stages.values()))
    title = f"share of {', '.join(str(first[h]['n']) for h in first)} held-out prompts, 95 % interval"
    view = Table(title=title, title_justify="left")
    view.add_column("stage")
    for h in H:
        view.add_column(h, justify="right")
    for stage, values in stages.items():
        cells = [f"{values[h]['rate']:.2f}  [{values[h]['low']:.2f}, {values[h]['high']:.2f}]" for h in H]
        view.add_row(stage, *cells)
    return view


def save(stages: dict[str, Rates], folder: Path) -> None:
    """Write hhh.json and hhh.png into `folder`."""
    (folder / "hhh.json").write_text(json.dumps(stages, indent=1) + "\n")
    picture(stages, folder / "hhh.png")


def picture(stages: dict[str, Rates], path: Path) -> None:
    """Bars with intervals: a group per H, a bar per stage."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    axes = figure.add_subplot()
    colours = ["#b8bcc4", "#6fa8dc", "#f6b26b", "#3d9970", "#8e63ce", "#c0504d"]
    width = 0.8 / len(stages)
    for i, (stage, values) in enumerate(stages.items()):
        at = [x + (i - (len(stages) - 1) / 2) * width for x in range(len(H))]
        shares = [values[h]["rate"] for h in H]
        below = [max(0.0, values[h]["rate"] - values[h]["low"]) for h in H]
        above = [max(0.0, values[h]["high"] - values[h]["rate"]) for h in H]
        axes.bar(at, shares, width * 0.92, yerr=[below, above], label=stage, color=colours[i % len(colours)], capsize=2)
        for x, share, up in zip(at, shares, above, strict=True):
            axes.text(x, share + up + 0.02, f"{share:.2f}", ha="center", fontsize=8)
    axes.set_xticks(range(len(H)), H)
    axes.set_ylim(0, 1.12)
    axes.set_ylabel("share of held-out prompts that pass")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=len(stages), loc="upper center", bbox_to_anchor=(0.5, 1.14))
    figure.savefig(path, dpi=150)
