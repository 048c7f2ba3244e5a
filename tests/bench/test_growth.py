"""What `python -m bench.growth` makes of numbers, and that its points run; nothing here is timed."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.growth import draw, point, text
from bench.growth.axes import axes
from bench.growth.fit import bend, exponents, line

DOCS = Path(__file__).parents[2] / "docs"
XS = [1, 2, 4, 8, 16, 32]
LINUX = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads Linux' peak of memory")


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0, -1.0])
def test_exponents_of_a_power_law_are_its_power(power):
    assert exponents(XS, [3 * x**power for x in XS]) == pytest.approx([power] * 5)


def test_bend_is_where_the_parts_are_equal():
    ys = [600 + 50 * x for x in XS]
    assert line(XS, ys) == pytest.approx((600, 50))
    assert bend(XS, ys) == pytest.approx(12)
    assert exponents([11.99, 12.01], [600 + 50 * x for x in (11.99, 12.01)]) == pytest.approx([0.5], abs=1e-3)


@pytest.mark.parametrize(
    "ys", [[5 * x for x in XS], [7] * 6, [x**2 for x in XS], [10 / x for x in XS], [1e6 + x for x in XS]],
    ids=["proportional", "flat", "square", "falling", "far"],
)  # fmt: skip
def test_without_two_parts_in_sight_there_is_no_bend(ys):
    assert bend(XS, ys) is None


def made(axis):
    """A record whose time and memory are known: a unit takes 4 x bend + 4 x, the plan half the growing part."""
    points = []
    for x in axis.points:
        work = {"memory": x * 2**20, "flops": 2 * x, "dense": 2 * x, "steps": 0, "moved": 0}
        units = {axis.per: 1, axis.rate: 8}
        one = {"x": x, "seconds": 4.0 * (x + list(axis.points)[1]), "alive": x * 2**20, "memory": 3 * x * 2**20}
        told = {"spread": 0.1, "rounds": 3, "set_aside": 2, "clean": True, "before": 2**28, "flops": 2 * x}
        points.append(one | told | {"counts": units, "plan": work})
    machine = {"cpu": "A CPU", "threads": 2, "torch": "2", "day": "2026-01-01", "flops": 1e9, "bandwidth": 1e9}
    return {"machine": machine, "points": points}


def test_section_tells_exponents_bends_and_ratios():
    found = {name: made(axis) for name, axis in axes().items()}
    section = text.section(axes(), found)
    told = next(row for row in section.splitlines() if row.startswith("| Sequence length | 64, 4k"))
    # (a + b x) with its bend at 128: from 64 to 128 by 256 / 192, from 2048 to 4096 by 4224 / 2176
    assert "| 0.42, 0.96 | 130 | none | 1.00 |" in told  # bends have two digits
    assert "| Sequence length | 64 MiB, 4 GiB | 1.00, 1.00 | 1.00 | 3.00 |" in section
    assert "A CPU, threads: 2" in section and "GFLOP/s" in section
    assert f"{2 * sum(len(a.points) for a in axes().values())} rounds set aside" in section
    assert "{" not in section and all(f"growth-{name}.svg" in section for name in found)


def test_section_takes_the_place_of_an_older_one():
    document = f"before\n{text.BEGIN}\nold\n{text.END}\nbehind\n"
    once = text.between(document, "new")
    assert once == f"before\n{text.BEGIN}\nnew\n{text.END}\nbehind\n" == text.between(once, "new")
    with pytest.raises(ValueError, match="begin"):
        text.between("no marks", "new")


def test_the_document_says_what_the_numbers_say():
    document = (DOCS / "performance.md").read_text(encoding="utf-8")
    file = DOCS / "growth.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    assert document.count(text.BEGIN) == document.count(text.END) == 1
    assert not found or text.between(document, text.section(axes(), found)) == document


@pytest.mark.parametrize("name", list(axes()))
def test_picture_has_a_dot_for_each_point_and_no_colour_of_its_own(name):
    axis = axes()[name]
    svg = draw.figure(axis, made(axis))
    root = ElementTree.fromstring(svg)
    words = ["".join(node.itertext()) for node in root.iter() if node.tag.endswith("text")]
    assert {axis.title, axis.x, "measured", "plan", "alive", "process"} <= set(words)
    assert all(draw.rounded(x) in words for x in axis.points)
    drawn = [node for node in root.iter() if node.tag.endswith("}use") and "var(--c1)" in node.get("style", "")]
    assert len(drawn) == 3 * len(axis.points)  # time, memory alive, memory of the process
    assert "#" not in "".join(node.get("style", "") for node in root.iter())


@pytest.fixture
def brief(monkeypatch):
    """One step a round, one round, and short answers."""
    for name, value in (("ENOUGH", 1), ("MOST", 1), ("WRITTEN", 8)):
        monkeypatch.setattr(point, name, value)


@LINUX
def test_a_point_of_training_runs(brief):
    record = axes()["answers"].points[2](1)
    assert record["counts"] == {"tokens": 16 * (96 + 2 * 32), "batches": 1, "prompts": 16, "pairs": 16}
    assert record["seconds"] > 0 and record["before"] > 2**20
    assert record["flops"] == pytest.approx(record["plan"]["flops"], rel=0.02)


@LINUX
def test_a_point_of_decoding_runs(brief):
    record = axes()["decoding"].points[8](1)
    assert record["counts"] == {"tokens": 8 * 8, "steps": 8}
    assert record["flops"] == pytest.approx(record["plan"]["flops"], rel=0.1)
