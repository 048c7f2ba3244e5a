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
    prompt=torch.tensor([0, 0, 0, 1, 1]),
    k=torch.tensor([4, 4, 4, 3, 3]),
    scores=torch.tensor([1.0, 2.0, 3.0]),
    best=torch.tensor([False, False, True]),
    lengths=torch.tensor([3, 2, 1]),
)


def test_shares_by_length_by_margin_and_by_k():
    """Intervals count the prompts of each part, not its pairs."""
    card = report.card(JUDGED)
    shares = {name: (v.passed, v.n, v.independent) for name, v in card.items() if isinstance(v, Rate)}
    assert shares == {
        "eval/accuracy": (3.5, 5, 2),  # a tie is half
        "eval/accuracy_like_length": (1.5, 2, 1),
        "eval/accuracy_better_longer": (1.0, 2, 2),
        "eval/accuracy_better_shorter": (1.0, 1, 1),
        "eval/accuracy_margin_1": (1.0, 2, 1),
        "eval/accuracy_margin_2": (0.5, 1, 1),
        "eval/accuracy_margin_3_up": (2.0, 2, 1),
        "eval/accuracy_k_3": (2.0, 2, 1),
        "eval/accuracy_k_4": (1.5, 3, 1),
    }
    assert card["eval/score_length_correlation"] == pytest.approx(-1.0)


def test_parts_without_a_pair_are_left_out():
    first = {name: getattr(JUDGED, name)[:1] for name in ("d", "longer", "margin", "prompt", "k")}
    pairs = report.Judged(**first, scores=JUDGED.scores, best=JUDGED.best, lengths=JUDGED.lengths)
    assert {"eval/accuracy_like_length", "eval/accuracy_margin_1"} == {
        name for name in report.card(pairs) if name.startswith("eval/accuracy_")
    }


def test_probes_below_the_threshold_failed():
    values = {"probe/a/x": Rate(3, 4), "probe/b/x": Rate(4, 4), "exam/a/wrong": Rate(0, 4), "eval/accuracy": Rate(0, 4)}
    assert report.failed(values, 0.8) == ["probe/a/x"]


def test_the_record_holds_bins_and_every_answer_once():
    """Scores 1, 2, 3 less 1 are 0, 1, 2: the ends of the first and the last bin are among them."""
    told = report.record(JUDGED, 1.0)
    assert [b["n"] for b in told["bins"]] == [1, 2, 1, 1]  # a tie is .5 sure; 1 is .73, 2 is .88, 3 is .95
    scores = told["scores"]
    assert (scores["edges"][0], scores["edges"][-1], len(scores["edges"])) == (0.0, 2.0, report.SCORE_BINS + 1)
    assert [n for n, count in enumerate(scores["best"]) if count] == [report.SCORE_BINS - 1]
    assert [n for n, count in enumerate(scores["others"]) if count] == [0, report.SCORE_BINS // 2]


def test_scores_that_are_all_the_same_have_a_histogram():
    alike = report.Judged(**{**JUDGED.__dict__, "scores": torch.ones(3)})
    assert sum(report.record(alike, 0.0)["scores"]["others"]) == 2


def test_picture_of_two_judges(tmp_path):
    bins = calibration(JUDGED.d)
    report.picture({"one": bins, "two": bins[:1]}, tmp_path / "r.png")
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
