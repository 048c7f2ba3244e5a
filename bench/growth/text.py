"""The part of docs/performance.md that the numbers write, so that the two cannot disagree."""

from collections.abc import Iterable, Sequence
from typing import Any

from bench.growth import draw
from bench.growth.axes import ANSWER, PROMPT, Axis
from bench.growth.fit import bend, exponents
from llmtrain.estimate.table import amount, size

BEGIN = "<!-- written by `python -m bench.growth`, from growth.json: begin -->"
END = "<!-- written by `python -m bench.growth`, from growth.json: end -->"
MEANING = {  # name of an axis -> what its bend is and what to do with it; {took}, {plan}: the bend measured and planned
    "sequence": (
        "A token pays for the matrices and for the rest of its row. Attention overtakes the matrices at {plan} tokens "
        "by the plan's operations (6 x weights of blocks and head to 14 x layers x width a token of length), measured "
        "at {took}. What the plan leaves out moves it to the right: work that is no product of matrices, and half of "
        "each square of attention, which the kernel skips and the plan counts. The bend is where it is for this model; "
        "it grows with the width. Well below it the length of rows is free, above it twice the length is up to twice "
        "the time of a token. Memory hardly depends on the length, since `batch.micro_tokens` bounds a micro-batch."
    ),
    "vocabulary": (
        "The head, and the optimizer's work on it and on the embeddings, overtake the blocks at {took} entries "
        "measured, {plan} by the plan's operations. From 4096 entries on logits are made in chunks of 32 MiB: memory "
        "then grows by weights, gradients and moments alone, 32 bytes x width for each entry (half of that with tied "
        "embeddings). A small model wants a small vocabulary."
    ),
    "answers": (
        "The prompt goes through the model once for all of its answers, so a prompt costs a + b K: its own tokens are "
        f"as many as those of {PROMPT / ANSWER:.0f} answers, the bend is at {{took}} answers. Pairs grow with "
        "K (K - 1) / 2, so further answers to a prompt are the cheapest pairs there are."
    ),
    "batch": (
        "A micro-batch costs a fixed time besides its tokens: as much as {took} tokens. The plan counts operations, "
        "which have no such part. A micro-batch a few times as large wastes little; beyond that, larger ones take "
        "memory and bring nothing. When memory does not fit, `batch.micro_tokens` is the first thing to lower: no "
        "result depends on it."
    ),
    "model": (
        "Time grows with the weights once products of matrices are most of a step (measured bend: {took}): below, "
        "what is no product costs more than what is. Memory has a part for the tokens of a micro-batch, and 16 bytes a "
        "weight for itself, its gradient and two moments, which no smaller batch takes away: then only fewer weights, "
        "or a larger machine, help."
    ),
    "decoding": (
        "A step of few rows waits for its kernels to start and for the weights to be read, whatever the rows: up to "
        "about {took} rows a further one is nearly free ({plan} by the plan, which knows only operations and bytes). "
        "Many answers at a time are cheaper than few; `sampling.batch_rows` bounds the cache that they take."
    ),
}


def between(document: str, section: str) -> str:
    """The document with `section` between its marks. Raises ValueError where it lacks them."""
    if document.count(BEGIN) != 1 or document.count(END) != 1:
        raise ValueError(f"the document needs one line each:\n{BEGIN}\n{END}")
    before, rest = document.split(BEGIN)
    return f"{before}{BEGIN}\n{section}\n{END}{rest.split(END)[1]}"


def section(axes: dict[str, Axis], found: dict[str, Any]) -> str:
    """Conditions, a table of time and one of memory, and each picture with what it says."""
    there = [(axis, found[name]) for name, axis in axes.items() if name in found]
    parts = [conditions([told for _, told in there]), timing(there), room(there)]
    for axis, told in there:
        parts += [f"### {axis.title}", f"![{axis.title}: time and memory](images/growth-{axis.name}.svg)"]
        parts += [MEANING[axis.name].format(**bends(axis, told))]
    return "\n\n".join(parts)


def conditions(told: Sequence[dict[str, Any]]) -> str:
    """Machine, rounds and disturbance. Axes measured on several machines or days are told with all of them."""
    points = [p for one in told for p in one["points"]]
    rough = sum(not p["clean"] for p in points)
    machines = {
        f"{m['cpu']}, threads: {m['threads']}, torch {m['torch']}, {m['day']}" for m in (one["machine"] for one in told)
    }
    speeds = [one["machine"]["flops"] / 1e9 for one in told]
    return (
        f"{'; '.join(sorted(machines))}. Medians of {span([p['rounds'] for p in points], str)} rounds a point behind "
        f"one that warms up; {sum(p['set_aside'] for p in points)} rounds set aside because other programs took part "
        f"of the machine, {rough} of {len(points)} points without enough undisturbed ones. Products of squares of 1024 "
        f"ran at {span(speeds, '{:.0f}'.format)} GFLOP/s, which is the plan's speed here. A process held "
        f"{span([p['before'] for p in points], size)} before there was a model; memory is told without that."
    )


def timing(there: Iterable[tuple[Axis, dict[str, Any]]]) -> str:
    """Exponents of the time of a unit, from the two smallest and the two largest points."""
    rows = ["| what grows | from, to | a second | time of a | exponent | bend | by the plan | operations to plan's |"]
    rows += ["|---|---|---|---|---|---|---|---|"]
    for axis, told in there:
        points, xs = told["points"], [p["x"] for p in told["points"]]
        took, _ = draw.seconds(axis, told)
        rates = [p["counts"][axis.rate] / p["seconds"] for p in points]
        found = bends(axis, told)
        cells = [
            axis.title, ends(xs, draw.rounded), f"{ends(rates, amount)} {axis.rate}", draw.UNITS[axis.per],
            ends(exponents(xs, took), "{:.2f}".format), found["took"], found["plan"],
            span([p["flops"] / p["plan"]["flops"] for p in points], "{:.2f}".format),
        ]  # fmt: skip
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def room(there: Iterable[tuple[Axis, dict[str, Any]]]) -> str:
    """Memory that is alive, its exponents, and how it stands to the plan and to what the process takes."""
    rows = [
        "| what grows | memory alive | exponent | alive to plan's | of the process to alive |",
        "|---|---|---|---|---|",
    ]
    for axis, told in there:
        sizes, xs = draw.memory(told["points"]), [p["x"] for p in told["points"]]
        alive = sizes["alive"]
        cells = [axis.title, ends(alive, size), ends(exponents(xs, alive), "{:.2f}".format)]
        cells += [
            span([a / b for a, b in zip(x, y, strict=True)], "{:.2f}".format)
            for x, y in ((alive, sizes["plan"]), (sizes["process"], alive))
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def bends(axis: Axis, told: dict[str, Any]) -> dict[str, str]:
    xs, (took, least) = [p["x"] for p in told["points"]], draw.seconds(axis, told)
    found = {"took": bend(xs, took), "plan": bend(xs, least)}
    return {name: "none" if x is None else draw.rounded(x) for name, x in found.items()}


def ends(values: Sequence[float], shown: Any) -> str:
    """The first and the last."""
    return f"{shown(values[0])}, {shown(values[-1])}"


def span(values: Sequence[float], shown: Any) -> str:
    """The least and the largest, once where they look the same."""
    low, high = shown(min(values)), shown(max(values))
    return low if low == high else f"{low} to {high}"
