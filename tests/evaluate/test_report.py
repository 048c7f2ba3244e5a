"""The report card, with numbers by hand."""

import pytest
import torch

from llmtrain.evaluate import report
from llmtrain.loop.learner import Rate
from llmtrain.objectives.statistics import calibration

# Five pairs of two prompts: right, wrong, tied, right, right
JUDGED = report.Judged(
    d=torch.tensor([2.0, -1.0, 0.0, 3.0, 1.0]),
    longer=torch.tensor([0, 3, -2, -5, 4]),
    margin=torch.tensor([1.0, 1.0, 2.0, 3.0, 4.0]),
    scores=torch.tensor([1.0, 2.0, 3.0]),
    lengths=torch.tensor([3, 2, 1]),
)


def test_shares_by_length_and_by_margin():
    card = report.card(JUDGED, 2)
    shares = {name: (v.passed, v.n, v.independent) for name, v in card.items() if isinstance(v, Rate)}
    assert shares == {
        "eval/accuracy": (3.5, 5, 2),  # a tie is half
        "eval/accuracy_like_length": (1.5, 2, 2),
        "eval/accuracy_better_longer": (1.0, 2, 2),
        "eval/accuracy_better_shorter": (1.0, 1, 1),
        "eval/accuracy_margin_1": (1.0, 2, 2),
        "eval/accuracy_margin_2": (0.5, 1, 1),
        "eval/accuracy_margin_3_up": (2.0, 2, 2),
    }
    assert card["eval/score_length_correlation"] == pytest.approx(-1.0)


def test_parts_without_a_pair_are_left_out():
    pairs = report.Judged(JUDGED.d[:1], JUDGED.longer[:1], JUDGED.margin[:1], JUDGED.scores, JUDGED.lengths)
    assert {"eval/accuracy_like_length", "eval/accuracy_margin_1"} == {
        name for name in report.card(pairs, 1) if name.startswith("eval/accuracy_")
    }


def test_probes_below_the_threshold_failed():
    values = {"probe/a/x": Rate(3, 4), "probe/b/x": Rate(4, 4), "exam/a/wrong": Rate(0, 4), "eval/accuracy": Rate(0, 4)}
    assert report.failed(values, 0.8) == ["probe/a/x"]


def test_picture_of_two_judges(tmp_path):
    bins = calibration(JUDGED.d)
    report.picture({"one": bins, "two": bins[:1]}, tmp_path / "r.png")
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
