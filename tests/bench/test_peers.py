"""`make bench`: how sides are held between rounds, and the page made of the results. No peer is installed here."""

import json
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch

from bench.measure import Step, alternated
from bench.peers import plain_ppo, works
from bench.peers.contest import Worker
from bench.peers.figures import Figures
from bench.peers.render import render
from bench.peers.windows import Windows

SIDE = """
import os
from bench.peers.side import Done, Gate
gate = Gate()
print("what a library prints", flush=True)
os.system("echo and a child of it")
gate.ready(flops=2.5)
gate.serve(lambda: Done(3, [0.5], {"rollout": 0.25}))
"""


def worker(code: str, folder, name: str = "side") -> Worker:
    return Worker(name, [sys.executable, "-c", code], folder / f"{name}.log")


def test_sides_take_turns_and_measure_themselves(tmp_path):
    with worker(SIDE, tmp_path, "a") as a, worker(SIDE.replace("3", "6"), tmp_path, "b") as b:
        a.started()
        b.started()
        found = alternated({"a": a.round, "b": b.round}, rounds=2, most=2)
    assert [(one["a"].done, one["b"].done) for one in found.rounds] == [(3, 6), (3, 6)]
    assert a.facts == {"flops": 2.5}
    assert a.losses == [0.5] * 3  # the round that warms it up among them
    assert a.phases[0] == {"rollout": 0.25}
    assert "torch" in a.versions
    assert a.process.returncode == b.process.returncode == 0
    assert a.log.read_text() == "what a library prints\nand a child of it\n"


def test_a_side_that_dies_is_told_with_its_last_words(tmp_path):
    with (
        worker("raise SystemExit('no such model')", tmp_path) as side,
        pytest.raises(RuntimeError, match="no such model"),
    ):
        side.started()


def result(**changes) -> dict:
    """Two rounds: ours takes 1 s and 2 s for 10 units, the peer 3 s and 4 s for 15."""

    def one(ours: float, theirs: float) -> dict:
        return {
            works.OURS: asdict(Step(ours, ours, 0.0, 10.0)),
            "peer": asdict(Step(theirs, theirs, 0.0, 15.0)),
            works.FLOOR: asdict(Step(1.0, 1.0, 0.0, 10.0)),
        }

    told = {"facts": {}, "losses": [2.0, 1.0], "phases": [{"rollout": 1.0, "update": 3.0}]}
    sides = {
        works.OURS: told | {"facts": {"flops": 1e9, "shares": {"matrix products": 0.6, "the rest": 0.4}}},
        "peer": told | {"losses": [2.0, 1.25, 1.0], "phases": []},
        works.FLOOR: {"facts": {"flops": 8e8, "square": 9e10}, "losses": [], "phases": []},
    }
    targets = [works.Target(works.OURS, "peer", 1.5), works.Target(works.OURS, works.FLOOR, 0.99)]
    return {
        "title": "pretrain, a model", "unit": "tokens", "threads": 1, "targets": [asdict(t) for t in targets],
        "curves": [works.OURS, "peer"], "unequal": "Nothing was.", "rounds": [one(1, 3), one(2, 4)], "set_aside": 1,
        "clean": True, "sides": sides, "versions": {"own": {"torch": "2"}, "peers": {}}, "machine": "a CPU, 2 cores",
        "date": "2026-01-01", "commit": "abc", "command": "python -m bench.peers", "data": "made up",
    } | changes  # fmt: skip


def test_figures():
    figures = Figures("pretrain", result())
    assert figures.timings.rate(works.OURS) == 7.5  # of 10 and 5 a second
    # 10 against 5 a second, then 5 against 3.75
    reached = figures.reached()
    assert reached[0].value == pytest.approx((2 + 5 / 3.75) / 2)
    assert reached[0].met
    # of the floor's 8e9 operations a second ours does 10e9, then 5e9
    assert reached[1].value == pytest.approx((10 / 8 + 5 / 8) / 2)
    assert not reached[1].met
    slower = works.Target(works.OURS, "peer", 0.7, most=True)
    assert Figures("core", result(targets=[asdict(slower)])).reached()[0].value == pytest.approx(1 / (5 / 3))


def test_the_page_is_made_of_the_results_alone(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps({"pretrain": result()}))
    render(tmp_path / "results.json", tmp_path / "RESULTS.md", tmp_path / "images")
    page = (tmp_path / "RESULTS.md").read_text()
    assert "| [pretrain](#pretrain-a-model) | llmtrain | peer | >= 1.50x | **1.67x** |" in page
    assert "**94%** (missed)" in page
    assert "n=2 clean, 1 set aside" in page
    assert "matrix products 60%, the rest 40%" in page
    assert "Nothing was." in page
    assert "| pretrain | 2 | llmtrain 1.0000, peer 1.2500 | 2.5e-01 |" in page
    assert "| pretrain | llmtrain | 4.00 | rollout 1.00 s (25%), update 3.00 s (75%) |" in page
    for name in ("ratios", "curves", "ppo"):
        assert f"(images/{name}.svg)" in page
        assert (tmp_path / "images" / f"{name}.svg").read_text().startswith("<?xml")


def test_every_contest_names_sides_that_it_has():
    for work in works.works(quick=True, rounds=1):
        names = {side.name for side in work.sides}
        assert len(names) == len(work.sides)
        assert {t.side for t in work.targets} | {t.base for t in work.targets} | set(work.curves) <= names


def test_windows_share_a_token_and_begin_anew(tmp_path):
    np.save(tmp_path / "text.npy", np.arange(14, dtype=np.int32))
    windows = Windows(tmp_path / "text.npy", width=4, rows=2)
    assert len(windows) == 2  # a third one would be half a step
    assert windows[0].tolist() == [0, 1, 2, 3, 4]
    assert windows[1].tolist() == [4, 5, 6, 7, 8]
    assert windows[2].tolist() == windows[0].tolist()


def test_advantages_of_the_plain_ppo():
    mask = torch.tensor([[True, True, True], [True, False, False]])
    rewards = torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]])
    values = torch.tensor([[0.5, 1.0, 1.5], [1.0, 9.0, 9.0]])
    # from the last token back: 2 - 1.5; 1 + 1.5 - 1 + .5 * .5; 0 + 1 - .5 + .5 * 1.75
    want = torch.tensor([[1.375, 1.75, 0.5], [2.0, 0.0, 0.0]])
    torch.testing.assert_close(plain_ppo.gae(rewards, values, mask, 0.5), want)
