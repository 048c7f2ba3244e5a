"""RESULTS.md and its pictures, made from results.json alone."""

import json
from pathlib import Path
from typing import Any

from bench.peers import pictures
from bench.peers.figures import Figures
from bench.peers.works import FLOOR

HEAD = """# Beside the peers

Written by `make bench` from `results.json`; nothing here was typed in. Every side has the same initial weights, data,
number of threads and optimizer (AdamW, learning rate constant, gradient clipped at 1, float32). Each is a process that
builds everything once; then they take turns, one round each. A ratio is the median over the rounds of the ratio within
a round; spread is the distance of its quartiles as a share of the median. A round in which other processes took more
than 0.2 of a core (/proc/stat against the side's own time) is set aside; where too few are left, all count and the row
says DISTURBED. Only useful work counts: no padding.

What the product does by itself (`launch.tune`: settings of the allocator, bounded waiting of OpenMP; denormals flushed)
is on for our sides. The peers do not do it, so they go without.
"""


def render(results: Path, page: Path, images: Path) -> None:
    """Write the page and, into the folder `images` beside it, the pictures."""
    told = json.loads(results.read_text(encoding="utf-8"))
    found = [Figures(name, result) for name, result in told.items()]
    images.mkdir(exist_ok=True)
    shown = [
        (
            pictures.ratios(found, images / "ratios.svg"),
            "How many times as fast as each peer; marks are the targets",
            "ratios.svg",
        )
    ]
    shown += [(pictures.curves(found, images / "curves.svg"), "Loss of the same rows in the same order", "curves.svg")]
    shown += [(pictures.phases(found, images / "ppo.svg"), "Seconds of a PPO iteration by phase", "ppo.svg")]
    drawn = {name: f"![{text}]({images.name}/{name})\n" for there, text, name in shown if there}
    parts = [HEAD, _targets(found), drawn.get("ratios.svg", "")]
    parts += [_contest(figures) for figures in found]
    if "curves.svg" in drawn:
        parts += [
            "## Equal work, equal learning\n",
            "The same rows in the same order: the curves should lie on each other.\n",
        ]
        parts += [drawn["curves.svg"], _learning(found)]
    if "ppo.svg" in drawn:
        parts += ["## Where a PPO iteration's time goes\n", drawn["ppo.svg"], _profile(found)]
    page.write_text("\n".join(part for part in parts if part), encoding="utf-8")


def _targets(found: list[Figures]) -> str:
    rows = [
        [
            f"[{figures.name}](#{_anchor(figures.result['title'])})",
            one.target.side,
            f"{one.target.base}, times slower" if one.target.most else one.target.base,
            ("<= " if one.target.most else ">= ") + one.told(one.target.factor),
            f"**{one.told(one.value)}**" + ("" if one.met else " (missed)"),
            f"{one.spread:.0%}",
            one.note,
        ]
        for figures in found
        for one in figures.reached()
    ]
    return "## Targets\n\n" + _table(["contest", "side", "against", "target", "reached", "spread", "rounds"], rows)


def _anchor(title: str) -> str:
    """As GitHub makes it of a heading."""
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def _contest(figures: Figures) -> str:
    result, times = figures.result, figures.timings
    rows = []
    for side in figures.sides:
        speed = figures.gflops(side)
        rows.append(
            [
                side,
                _number(times.rate(side)),
                f"{times.spread(side):.0%}",
                "" if side == figures.ours else f"{times.ratio(figures.ours, side):.2f}x",
                "" if side == figures.ours else f"{times.ratio(figures.ours, side, cpu=True):.2f}x",
                "" if speed is None else f"{speed:.0f}",
            ]
        )
    head = ["side", f"{result['unit']}/s", "spread", f"{figures.ours}: times as fast", "in CPU time", "GFLOP/s"]
    if not any(row[-1] for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    square = figures.sides.get(FLOOR, {"facts": {}})["facts"].get("square")
    lines = [f"## {result['title']}\n", _table(head, rows)]
    if square:
        lines.append(f"The best product of squares: {square / 1e9:.0f} GFLOP/s.\n")
    if shares := figures.sides[figures.ours]["facts"].get("shares"):
        told = ", ".join(f"{kind} {share:.0%}" for kind, share in shares.items())
        lines.append(f"Of the time of our forward and backward (torch's profiler): {told}.\n")
    return "\n".join([*lines, result["unequal"] + "\n", _circumstances(result)])


def _circumstances(result: dict[str, Any]) -> str:
    note = Figures("", result).timings.note()
    versions = "; ".join(
        f"{env}: " + ", ".join(f"{name} {number}" for name, number in told.items())
        for env, told in result["versions"].items()
        if told
    )
    return (
        f"<sub>{note}; {result['threads']} threads; {result['machine']}; {versions}; "
        f"data {result['data']}; commit {result['commit']}, "
        f"{result['date']}; `{result['command']}`</sub>\n"
    )


def _learning(found: list[Figures]) -> str:
    rows = []
    for figures in found:
        losses = {side: figures.sides[side]["losses"] for side in figures.result["curves"]}
        steps = min((len(values) for values in losses.values()), default=0)
        if not steps:
            continue
        ends = [f"{side} {values[steps - 1]:.4f}" for side, values in losses.items()]
        apart = max(max(values) - min(values) for values in zip(*(v[:steps] for v in losses.values()), strict=True))
        rows.append([figures.name, str(steps), ", ".join(ends), f"{apart:.1e}"])
    return _table(["contest", "steps", "loss of the last common step", "furthest apart in any step"], rows)


def _profile(found: list[Figures]) -> str:
    rows = []
    for figures in found:
        for side, seconds in figures.phases().items():
            whole = sum(seconds.values())
            parts = ", ".join(f"{name} {s:.2f} s ({s / whole:.0%})" for name, s in sorted(seconds.items()))
            rows.append([figures.name, side, f"{whole:.2f}", parts])
    return _table(["contest", "side", "seconds", "phases (medians)"], rows)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
