"""The picture of an axis: time on the left, memory on the right, measured as dots and planned as a thin line.

One SVG for light and dark: its colours are properties that follow the reader's scheme, and the paper is part of it.
"""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.growth.axes import Axis
from bench.growth.fit import bend
from llmtrain.report import draw

HEIGHT, GAP, TOP, EDGE = 226, 24, 62, 16
RIGHT, LETTERS = 66, 13  # pixels: for names behind the last point, and from one to the next
BLUE = draw.SERIES[0]
UNITS = {"tokens": "token", "prompts": "prompt", "batches": "micro-batch", "steps": "step of all rows"}
STYLE = (
    "svg{--ink:#1f2328;--muted:#59636e;--line:#d8dee4;--paper:#fff;--c1:#0969da;color:var(--ink);"
    "font-family:system-ui,-apple-system,'Segoe UI',sans-serif}"
    "@media(prefers-color-scheme:dark){svg{--ink:#e6edf3;--muted:#9198a1;--line:#30363d;--paper:#0d1117;--c1:#58a6ff}}"
    ".title{font-size:15px;font-weight:600;fill:var(--ink)}.key{font-size:12px;fill:var(--muted)}"
)
ROUND = (1, 2, 5)
FINE = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)


def seconds(axis: Axis, found: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Of a unit of the axis, at each point: measured, and as the plan has it at the speed of the machine."""
    flops, bandwidth = found["machine"]["flops"], found["machine"]["bandwidth"]
    units = [point["counts"][axis.per] for point in found["points"]]
    least = [
        p["plan"]["dense"] / flops + max(p["plan"]["steps"] / flops, p["plan"]["moved"] / bandwidth)
        for p in found["points"]
    ]
    return (
        [point["seconds"] / n for point, n in zip(found["points"], units, strict=True)],
        [s / n for s, n in zip(least, units, strict=True)],
    )


def figure(axis: Axis, found: dict[str, Any]) -> str:
    """An SVG document."""
    points = found["points"]
    xs, (took, least) = [p["x"] for p in points], seconds(axis, found)
    scale, unit = next(((s, u) for s, u in ((1, "s"), (1e3, "ms")) if max(took) * s >= 2), (1e6, "µs"))
    mib = {key: [size / 2**20 for size in sizes] for key, sizes in memory(points).items()}

    def time(plot: Axes) -> None:
        grid(plot, xs, [s * scale for s in took + least])
        plot.plot(xs, [s * scale for s in least], color=draw.MUTED, linewidth=1)
        plot.plot(xs, [s * scale for s in took], "o", color=BLUE, markersize=5)
        named(plot, xs[-1], [(least[-1] * scale, "plan", draw.MUTED), (took[-1] * scale, "measured", BLUE)])
        if (there := bend(xs, took)) and xs[0] < there < xs[-1]:
            plot.axvline(there, color=draw.MUTED, linewidth=0.7, dashes=(3, 3))
            plot.annotate(
                f"bend {rounded(there)}", (there, 0), (4, 4), xycoords=("data", "axes fraction"),
                textcoords="offset points", color=draw.MUTED, fontsize=11,
            )  # fmt: skip

    def room(plot: Axes) -> None:
        grid(plot, xs, [size for sizes in mib.values() for size in sizes])
        plot.plot(xs, mib["plan"], color=draw.MUTED, linewidth=1)
        plot.plot(xs, mib["alive"], "o", color=BLUE, markersize=5)
        hollow = {"markerfacecolor": draw.PAPER, "markeredgecolor": BLUE, "markeredgewidth": 1.2}
        plot.plot(xs, mib["process"], "o", markersize=5, **hollow)
        colours = {"plan": draw.MUTED, "alive": BLUE, "process": BLUE}
        named(plot, xs[-1], [(mib[name][-1], name, colour) for name, colour in colours.items()])

    margins = {"bottom": 26, "top": 8, "right": RIGHT}
    left = draw.picture(HEIGHT, f"time over {axis.x}", time, **margins)
    right = draw.picture(HEIGHT, f"memory over {axis.x}", room, **margins)
    heads = f"Time of a {UNITS[axis.per]}, {unit}", "Peak of memory, MiB"
    return document(axis, heads, (left, right))


def memory(points: Sequence[dict[str, Any]]) -> dict[str, list[int]]:
    """Bytes: of the process as it runs, of what is alive in it, and of what the plan says is."""
    return {
        "process": [p["memory"] for p in points],
        "alive": [p["alive"] for p in points],
        "plan": [p["plan"]["memory"] for p in points],
    }


def grid(plot: Axes, xs: Sequence[float], ys: Sequence[float]) -> None:
    """Logarithmic on both sides, with a tick at each point and at round values; the same in length for a factor."""
    plot.set_xscale("log")
    plot.set_yscale("log")
    low, high = min(ys) * 0.8, max(ys) * 1.35
    subs = ROUND if high / low > 12 else FINE
    ticks = [s * 10.0**n for n in range(-9, 12) for s in subs if low <= s * 10.0**n <= high]
    while len(ticks) > 6:
        ticks = ticks[::2]
    plot.set_ylim(low, high)
    plot.set_xlim(xs[0] * (xs[0] / xs[-1]) ** 0.05, xs[-1] * (xs[-1] / xs[0]) ** 0.05)
    for side, at, label in ((plot.xaxis, xs, rounded), (plot.yaxis, ticks, draw.short)):
        side.set_major_locator(FixedLocator(list(at)))
        side.set_minor_locator(NullLocator())
        side.set_major_formatter(FuncFormatter(lambda value, _, label=label: label(value)))


def named(plot: Axes, x: float, ends: Sequence[tuple[float, str, str]]) -> None:
    """Names beside the last points of what they name, (y, name, colour) each, far enough from each other to be read."""
    low, high = plot.get_ylim()
    pixels = (HEIGHT - 34) / math.log(high / low)  # for a factor of e, the margins of `figure` taken off
    last = -math.inf
    for y, name, colour in sorted(ends):
        place = math.log(y / low) * pixels
        last = max(place, last + LETTERS)
        plot.annotate(
            name, (x, y), (9, last - place), textcoords="offset points", va="center", color=colour, fontsize=11,
            annotation_clip=False,
        )  # fmt: skip


def rounded(x: float) -> str:
    """A point's own number, in thousands of 1024 or in millions; two digits of what is between points."""
    if x >= 1e6:
        return f"{x / 1e6:.3g}M"
    if x % 1024 == 0:
        return f"{x / 1024:.0f}k"
    return f"{x:.0f}" if x == int(x) else f"{float(f'{x:.2g}'):g}"


def document(axis: Axis, heads: Sequence[str], panels: Sequence[str]) -> str:
    """Two panels under one title, on paper."""
    width, height = 2 * draw.WIDTH + GAP + 2 * EDGE, HEIGHT + TOP + EDGE + 14
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">']
    parts += [f"<title>{axis.title}: time and memory over {axis.x}</title><style>{STYLE}</style>"]
    parts += [f'<rect width="{width}" height="{height}" rx="8" style="fill:var(--paper)"/>']
    parts += [f'<text class="title" x="{EDGE}" y="30">{axis.title}</text>']
    parts += [f'<text class="key" x="{width / 2}" y="{height - 12}" text-anchor="middle">{axis.x}</text>']
    for number, (head, panel) in enumerate(zip(heads, panels, strict=True)):
        x = EDGE + number * (draw.WIDTH + GAP)
        place = f'<svg x="{x}" y="{TOP}" width="{draw.WIDTH}" height="{HEIGHT}" '
        parts += [f'<text class="key" x="{x}" y="54">{head}</text>', str(panel).replace("<svg ", place, 1)]
    return "\n".join([*parts, "</svg>", ""])
