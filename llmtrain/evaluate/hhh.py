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

H = ("helpful", "honest", "harmless")
Rates = dict[str, dict[str, float]]  # h -> {"rate", "n", "combinations", "low", "high"}


def grades(prompts: Sequence[Prompt], answers: Sequence[tuple[str, bool]]) -> dict[str, Rate]:
    """Share of the answers (text, ended) that pass, by H and by `h.family`. Intervals count combinations."""
    passed: dict[str, list[bool]] = defaultdict(list)
    asked: dict[str, set[str]] = defaultdict(set)
    for prompt, (text, ended) in zip(prompts, answers, strict=True):
        for name in (prompt.meta["h"], f"{prompt.meta['h']}.{prompt.meta['family']}"):
            passed[name].append(grade(prompt, text, ended) == PASS)
            asked[name].add(prompt.meta["combination"])
    return {name: Rate(sum(good), len(good), len(asked[name])) for name, good in passed.items()}


def gold(prompts: Sequence[Prompt], answers: Sequence[tuple[str, bool]]) -> dict[str, Rate]:
    """The grades as metrics `gold/<h>` and `gold/min`, the lowest of the three."""
    found = grades(prompts, answers)
    by_h = {f"gold/{h}": found[h] for h in H if h in found}
    return {**by_h, "gold/min": min(by_h.values(), key=lambda rate: rate.value)}


def rows(prompts: Sequence[Prompt], answers: Sequence[tuple[str, bool]]) -> list[dict]:
    """Prompts, answers and gold levels, for a file that people read."""
    return [
        {"h": p.meta["h"], "prompt": p.messages[-1].content, "answer": text, "level": grade(p, text, ended)}
        for p, (text, ended) in zip(prompts, answers, strict=True)
    ]


def rates(found: dict[str, Rate]) -> Rates:
    """Shares with their 95 % intervals, per H."""
    out: Rates = {}
    for rate, h in ((found[h], h) for h in H if h in found):
        low, high = rate.interval(0.95)
        out[h] = {
            "rate": rate.value,
            "n": rate.n,
            "combinations": rate.n if rate.independent is None else rate.independent,
            "low": low,
            "high": high,
        }
    return out


def table(stages: dict[str, Rates]) -> Table:
    """The HHH table, one row a stage."""
    first = next(iter(stages.values()))
    n, m = (", ".join(str(first[h][key]) for h in first) for key in ("n", "combinations"))
    caption = f"share of held-out prompts that pass, with 95 % interval\nprompts: {n}; combinations: {m}"
    view = Table(caption=caption, caption_justify="left")
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
