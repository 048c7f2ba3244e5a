import math

import pytest
import torch

from llmtrain.objectives.masked import length_mask
from llmtrain.objectives.statistics import (
    brier,
    calibration,
    correlation,
    ece,
    explained_variance,
    log_loss,
    mean_confidence,
    pair_accuracy,
    wins,
)


def test_f25_a_constant_judge():
    d = torch.zeros(8)
    assert pair_accuracy(d) == 0.5 and math.isclose(log_loss(d), math.log(2)) and brier(d) == 0.25 and ece(d) == 0


def test_a_calibrated_judge_has_no_calibration_error():
    """sigmoid(ln 3) = 3/4: right in three of four pairs."""
    d = torch.tensor([1.0, 1.0, 1.0, -1.0], dtype=torch.float64) * math.log(3)
    assert ece(d) < 1e-12
    assert mean_confidence(d) == pytest.approx(0.75) == pair_accuracy(d)
    assert ece(10 * d) == pytest.approx(0.25, abs=1e-3)
    assert mean_confidence(10 * d) == pytest.approx(1.0, abs=1e-3)


def test_bins_are_closed_on_the_right():
    edge = math.log(3)  # confidence 0.75, the edge of two bins
    (only,) = calibration(torch.tensor([edge], dtype=torch.float64), bins=2)
    assert (only.low, only.high) == (0.5, 0.75)
    (only,) = calibration(torch.tensor([edge - 1e-9], dtype=torch.float64), bins=2)
    assert (only.low, only.high) == (0.5, 0.75)
    (only,) = calibration(torch.tensor([edge + 1e-9], dtype=torch.float64), bins=2)
    assert (only.low, only.high) == (0.75, 1.0)


def test_huge_differences_stay_finite():
    d = torch.tensor([1000.0, -1000.0])
    assert log_loss(d) == 500 and brier(d) == 0.5 and pair_accuracy(d) == 0.5
    assert calibration(d)[0].n == 2


def test_correlation():
    x = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert correlation(x, 5 - 2 * x) == pytest.approx(-1) and correlation(x, torch.ones(4)) == 0
    y = torch.tensor([2.0, 1.0, 4.0, 3.0])
    assert correlation(x, y) == pytest.approx(float(torch.corrcoef(torch.stack([x, y]))[0, 1]))


def test_explained_variance():
    mask = length_mask(torch.tensor([3, 1]))
    returns = torch.tensor([[1.0, 2.0, 3.0], [6.0, float("nan"), 9.0]])
    assert explained_variance(returns, returns, mask) == 1
    assert explained_variance(torch.zeros(2, 3), returns, mask) == 0
    assert explained_variance(-returns, returns, mask) == pytest.approx(-3)
    assert explained_variance(returns, torch.ones(2, 3), mask) == 0


def test_an_answer_that_was_cut_off_loses_to_one_that_ended():
    d = torch.tensor([3.0, -3.0, 1.0, -1.0, 0.0])
    ended, before = torch.tensor([[False, True, True, False, True], [True, False, True, False, True]])
    assert wins(d, ended, before).tolist() == [0.0, 1.0, 1.0, 0.0, 0.5]
