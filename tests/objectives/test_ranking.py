import math

import pytest
import torch

from llmtrain.config.schema import Tie
from llmtrain.objectives.ranking import TIES, bradley_terry, kway_loss, normalised_head, pairs
from llmtrain.objectives.statistics import log_loss, pair_accuracy

SCORES = torch.tensor([1.2, -0.3, 0.4, 0.1, 0.2, 0.9], dtype=torch.float64)
GROUP = torch.tensor([0, 0, 0, 0, 1, 1])
RANKS = torch.tensor([1.0, 4.0, 2.0, 2.0, 1.0, 2.0])


def test_names_are_those_of_the_configuration():
    assert set(TIES) == {t.name for t in Tie}


def test_f24_k_of_two_is_bradley_terry():
    total, prompts = kway_loss(SCORES, torch.arange(6) // 2, torch.tensor([1, 2, 2, 1, 1, 2]))
    expected = bradley_terry(SCORES[[0, 3, 4]], SCORES[[1, 2, 5]]).sum()
    assert prompts == 3 and torch.equal(total, expected)


@pytest.mark.parametrize("tie", TIES)
def test_f24_order_and_constant_do_not_matter(tie):
    total, prompts = kway_loss(SCORES, GROUP, RANKS, tie=tie)
    order = torch.tensor([5, 2, 0, 4, 3, 1])
    for other in (
        kway_loss(SCORES[order], GROUP[order], RANKS[order], tie=tie),
        kway_loss(SCORES + 8, GROUP, RANKS, tie=tie),
    ):
        torch.testing.assert_close(other[0], total, rtol=1e-12, atol=0)
        assert other[1] == prompts


def test_f10_prompts_may_be_split_over_micro_batches():
    whole, n = kway_loss(SCORES, GROUP, RANKS)
    first, a = kway_loss(SCORES[:4], GROUP[:4], RANKS[:4])
    second, b = kway_loss(SCORES[4:], GROUP[4:], RANKS[4:])
    torch.testing.assert_close(first + second, whole)
    assert a + b == n == 2


def test_a_half_tie_pulls_equal_ranks_together():
    scores = torch.tensor([1.0, -1.0], requires_grad=True)
    total, prompts = kway_loss(scores, torch.zeros(2, dtype=torch.int64), torch.ones(2), tie="half")
    total.backward()
    by_hand = 0.5 * (math.log1p(math.exp(-2)) + math.log1p(math.exp(2)))
    assert prompts == 1 and math.isclose(total.item(), by_hand, rel_tol=1e-6)
    assert scores.grad[0] > 0 > scores.grad[1]


def test_a_margin_widens_ordered_pairs_alone():
    group, ranks = torch.zeros(3, dtype=torch.int64), torch.tensor([1, 2, 2])
    scores = torch.tensor([1.0, 0.0, 0.0])
    total, _ = kway_loss(scores, group, ranks, tie="half", margin=1.0)
    assert math.isclose(float(total), math.log(2), rel_tol=1e-6)  # d - margin = 0 twice, and the tie at d = 0


def test_f36_a_prompt_without_pairs():
    scores = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    total, prompts = kway_loss(scores, torch.tensor([0, 0, 1]), torch.tensor([1, 1, 1]))
    total.backward()
    assert (float(total), prompts) == (0, 0) and scores.grad.tolist() == [0, 0, 0]


def test_f25_separable_ranks_are_learned():
    """Answers are ranked by their first feature; a linear judge must find that."""
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    group = torch.arange(60) // 4
    ranks = -x[:, 0]
    weight = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=1.0)
    for _ in range(100):
        total, prompts = kway_loss(x @ weight, group, ranks)
        optimizer.zero_grad()
        (total / prompts).backward()
        optimizer.step()
    found = pairs(group, ranks)
    scores = (x @ weight).detach()
    d = scores[found.better] - scores[found.worse]
    assert pair_accuracy(d) == 1.0 and log_loss(d) < 0.1


def test_f25_a_constant_judge_has_accuracy_one_half():
    assert pair_accuracy(torch.zeros(7)) == 0.5


@pytest.mark.parametrize("unit_sd", [False, True])
def test_f26_normalising_twice_changes_nothing(unit_sd):
    head = torch.tensor([0.4, 1.9, -0.6, 1.1, 0.2], dtype=torch.float64)
    once = normalised_head(0.5 * head + 0.3, 0.5, 0.3, unit_sd=unit_sd)
    twice = normalised_head(once[0] * head + once[1], *once, unit_sd=unit_sd)
    assert once == pytest.approx(twice, abs=1e-12)
    scores = twice[0] * head + twice[1]
    assert abs(scores.mean()) < 1e-12 and (not unit_sd or abs(scores.std(correction=0) - 1) < 1e-12)


def test_f36_normalising_equal_outputs():
    assert normalised_head(torch.full((4,), 0.25), 1.0, 0.0, unit_sd=True) == (1.0, -0.25)
