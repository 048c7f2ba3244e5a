"""Axes in, inline SVG out: the one place that knows matplotlib.

matplotlib, because it is installed anyway, writes SVG that stays sharp on any screen and on paper, and needs no script
in the page: a page without scripts runs none, whoever wrote the texts in it. (The libraries made for the web would put
one to four megabytes of JavaScript into each report.) Its text stays text, and its colours become CSS custom
properties, so one picture serves a dark screen, a light one and a printer.

What it writes is taken apart and rebuilt from a short list of elements and attributes: nothing else gets into the page.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

WIDTH = 360  # CSS pixels: a phone's width, and a third of a desk's, so text has one size on both
DOTS = 72  # points to the inch, as SVG has them: one is one CSS pixel of the page
# Colours that stand for a property of the page's style; they appear nowhere else.
INK, MUTED, LINE, PAPER = "#010203", "#020304", "#030405", "#040506"
SERIES = tuple(f"#0506{n:02x}" for n in range(8))
PROPERTIES = {INK: "currentColor", MUTED: "var(--muted)", LINE: "var(--line)", PAPER: "var(--paper)"}
PROPERTIES |= {colour: f"var(--c{n})" for n, colour in enumerate(SERIES, 1)}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "llmtrain",
    "text.parse_math": False,
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.labelcolor": MUTED,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "text.color": INK,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
    "path.simplify": True,
}
KEPT = {  # element -> attributes
    "svg": (),
    "g": ("clip-path", "transform", "style"),
    "path": ("d", "style", "clip-path", "transform", "id"),
    "use": ("href", "x", "y", "style"),
    "text": ("x", "y", "transform", "style"),
    "defs": (),
    "clipPath": ("id",),
    "rect": ("x", "y", "width", "height"),
}
_numbers = count()


@contextmanager
def axes(
    height: int, *, left: int = 46, right: int = 14, bottom: int = 36, top: int = 12
) -> Iterator[tuple[Figure, Axes]]:
    """A figure and the axes of a picture WIDTH wide; the margins are pixels around what is plotted."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH / DOTS, height / DOTS), dpi=DOTS, frameon=False)
        FigureCanvasSVG(figure)
        size = (left / WIDTH, bottom / height, 1 - (left + right) / WIDTH, 1 - (top + bottom) / height)
        made = figure.add_axes(size)
        made.patch.set_visible(False)
        for axis in (made.xaxis, made.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda x, _: short(x)))
            axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        yield figure, made


def picture(height: int, title: str, paint: Callable[[Axes], None], **margins: int) -> Markup:
    """The picture that `paint` makes, as an SVG element. title: what a screen reader says of it."""
    out = io.BytesIO()
    with axes(height, **margins) as (figure, made), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that its own font lacks is the browser's to draw
        paint(made)
        figure.savefig(out, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return inline(out.getvalue(), height, title)


def inline(svg: bytes, height: int, title: str) -> Markup:
    """An SVG document of matplotlib as an element of the page, rebuilt from what is in KEPT."""
    root = ElementTree.fromstring(svg)
    prefix = f"s{next(_numbers)}-"
    inner = "".join(_rebuilt(child, prefix) for child in root)
    label = escape(title)
    return Markup(f'<svg class="plot" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">{inner}</svg>')


def _rebuilt(node: ElementTree.Element, prefix: str) -> str:
    name = node.tag.rpartition("}")[2]
    if name not in KEPT:
        return ""
    inner = str(escape(node.text)) if name == "text" and node.text else ""
    inner += "".join(_rebuilt(child, prefix) for child in node)
    if name in ("g", "defs") and not inner:
        return ""
    given = {key.rpartition("}")[2]: value for key, value in node.attrib.items()}
    if name == "path" and "d" not in given:
        return ""
    own = "".join(f' {key}="{escape(_value(key, given[key], prefix))}"' for key in KEPT[name] if key in given)
    return inner if name == "g" and not own else f"<{name}{own}>{inner}</{name}>"


def _value(key: str, value: str, prefix: str) -> str:
    if key == "style":
        value = re.sub(r"#[0-9a-f]{6}", lambda m: PROPERTIES.get(m[0], m[0]), value)
        value = re.sub(r"font: ([\d.]+)px [^;]*", r"font-size: \1px", value)  # before matplotlib 3.11 all in one
        return re.sub(r"; font-family: [^;]*", "", value)  # the page's own
    if key in ("d", "x", "y", "transform"):
        value = re.sub(r"-?\d+\.\d+", lambda m: f"{float(m[0]):.1f}".removesuffix(".0"), value)
        return re.sub(r"\s*\n\s*|(?<=[MLCQz]) ", "", value) if key == "d" else value
    if key == "id":
        return prefix + value
    return value.replace("#", f"#{prefix}", 1) if key in ("href", "clip-path") else value


def short(value: float) -> str:
    """A number for an axis: 12k, 1.5M, 0.002, 4e-05."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):.4g}{unit}".replace("-", "\u2212")
    return f"{value:.4g}".replace("-", "\u2212")
