import inspect
import math
from dataclasses import fields
from functools import partial

import pytest
import torch

from llmtrain.config.choices import AdvantageName
from llmtrain.config.ppo import ADVANTAGE as SETTINGS
from llmtrain.config.ppo import CRITIC, Advantage
from llmtrain.objectives.advantages import (
    ADVANTAGES,
    dr_grpo,
    gae,
    grpo,
    reinforce_pp,
    rewards_to_go,
    rloo,
    with_critic,
)
from llmtrain.objectives.masked import length_mask, masked_whiten
from tests.objectives import bandit

NAN = float("nan")
DRAW = torch.Generator().manual_seed(0)
MASK = length_mask(torch.tensor([5, 1, 3, 4]))
REWARDS = (torch.randint(-16, 16, (4, 5), generator=DRAW) / 8).masked_fill(~MASK, NAN)  # eighths: sums are exact
VALUES = (torch.randint(-16, 16, (4, 5), generator=DRAW) / 8).masked_fill(~MASK, NAN)


def test_names_are_those_of_the_configuration():
    assert set(ADVANTAGES) == {a.name for a in AdvantageName}


@pytest.mark.parametrize("name", list(AdvantageName))
def test_an_estimator_asks_for_the_settings_that_the_configuration_gives_it(name):
    asking = {"gae": with_critic, "reinforce_pp": rewards_to_go, "grpo": grpo, "dr_grpo": dr_grpo, "rloo": rloo}
    own = inspect.signature(asking[name.value]).parameters.values()
    assert {p.name for p in own if p.kind is p.KEYWORD_ONLY and p.default is p.empty} == set(SETTINGS[name])


def test_every_key_of_advantage_goes_to_an_estimator_or_to_the_stage():
    elsewhere = {"name", "answers", "value_clip", *CRITIC}
    assert {field.name for field in fields(Advantage)} == {
        key for keys in SETTINGS.values() for key in keys
    } | elsewhere


def test_f18_gamma_and_lam_one_give_the_reward_to_go():
    advantages, returns = gae(REWARDS, VALUES, MASK, gamma=1.0, lam=1.0)
    for b, length in enumerate([5, 1, 3, 4]):
        for t in range(length):
            to_go = REWARDS[b, t:length].sum()
            assert returns[b, t] == to_go and advantages[b, t] == to_go - VALUES[b, t]


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("pad", range(1, 8))
def test_f4_f5_pad_columns_of_nan_change_nothing(pad, left):
    before, after = (pad, 0) if left else (0, pad)

    def padded(x, value):
        return torch.nn.functional.pad(x, (before, after), value=value)

    narrow = gae(REWARDS, VALUES, MASK, gamma=0.99, lam=0.9)
    wide = gae(padded(REWARDS, NAN), padded(VALUES, NAN), padded(MASK, False), gamma=0.99, lam=0.9)
    for a, b in zip(narrow, wide, strict=True):
        assert torch.equal(b[:, before : before + 5], a) and b.isfinite().all()
    white = masked_whiten(padded(narrow[0], NAN), padded(MASK, False))
    torch.testing.assert_close(white[:, before : before + 5], masked_whiten(narrow[0], MASK), atol=1e-6, rtol=0)


def test_f19_permuted_sequences_give_permuted_advantages():
    order = torch.tensor([2, 0, 3, 1])
    advantages, returns = gae(REWARDS, VALUES, MASK, gamma=0.99, lam=0.9)
    again = gae(REWARDS[order], VALUES[order], MASK[order], gamma=0.99, lam=0.9)
    assert torch.equal(again[0], advantages[order]) and torch.equal(again[1], returns[order])


@pytest.mark.parametrize("lam", [0.0, 0.5, 0.95, 1.0])
def test_f17_with_the_true_value_the_mean_advantage_is_zero(lam):
    """Exact: over all 15 responses of the sequence task, in each of its 7 states."""
    task = bandit.task(torch.float64)
    policy = torch.randn(7, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    p = bandit.probabilities(task, policy)
    rewards = torch.randn(15, 1, generator=torch.Generator().manual_seed(4), dtype=torch.float64) * task.mask
    at, weight = task.states[task.mask], p[:, None].expand(15, 3)[task.mask]

    def mean_by_state(x):
        return torch.zeros(7).double().index_add(0, at, weight * x[task.mask]) / torch.zeros(7).double().index_add(
            0, at, weight
        )

    last = task.mask.sum(-1, keepdim=True) - 1 == torch.arange(3)
    rewards = torch.where(last, rewards, 0.0)
    true = mean_by_state(rewards.flip(-1).cumsum(-1).flip(-1))
    advantages, _ = gae(rewards, true[task.states], task.mask, gamma=1.0, lam=lam)
    assert mean_by_state(advantages).abs().max() < 1e-12
    shifted, _ = gae(rewards, true[task.states].roll(1, 1), task.mask, gamma=1.0, lam=lam)
    assert mean_by_state(shifted).abs().max() > 1e-2  # an off-by-one in V would show


def test_bootstrap_is_the_value_behind_the_last_token():
    """As if one more token with that value and reward 0 stood there."""
    cut, value = torch.tensor([[0.0, 1.0, NAN]]), torch.tensor([[0.5, 0.25, NAN]])
    mask = length_mask(torch.tensor([2]), 3)
    advantages, _ = gae(cut, value, mask, gamma=1.0, lam=0.5, bootstrap=torch.tensor([2.0]))
    assert advantages.tolist() == [[-0.25 + 0.5 * 2.75, 2.75, 0]]


@pytest.mark.parametrize("estimator", [partial(grpo, ddof=1), dr_grpo, rloo])
def test_f36_equal_scores_have_no_advantage(estimator):
    assert torch.equal(estimator(torch.full((2, 7), 0.3)), torch.zeros(2, 7))
    assert torch.equal(estimator(torch.tensor([[0.3]])), torch.zeros(1, 1))


@pytest.mark.parametrize("estimator", [partial(grpo, ddof=1), dr_grpo, rloo])
def test_group_estimators_ignore_a_constant_and_keep_the_order(estimator):
    scores = torch.randn(5, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.testing.assert_close(estimator(scores + 3), estimator(scores))
    torch.testing.assert_close(estimator(scores.flip(-1)), estimator(scores).flip(-1))
    assert estimator(scores).sum(-1).abs().max() < 1e-12


def test_rloo_baseline_by_loop():
    scores = torch.tensor([[1.0, 4.0, 2.0]])
    others = [[(4 + 2) / 2, (1 + 2) / 2, (1 + 4) / 2]]
    torch.testing.assert_close(rloo(scores), scores - torch.tensor(others))


def test_reinforce_pp_discounts():
    _, returns = reinforce_pp(torch.tensor([[1.0, 2.0, 4.0, NAN]]), length_mask(torch.tensor([3]), 4), gamma=0.5)
    assert returns.tolist() == [[3.0, 4.0, 4.0, 0.0]]


# Two prompts with two answers each; answer b scores SCORES[b] on its last token and pays a quarter on every token.
SCORES = torch.tensor([1.0, 3.0, 2.0, 2.0])
LENGTHS = [5, 1, 3, 3]
OWN = {"grpo": {"ddof": 1}}


def judged(lengths=LENGTHS):
    mask = length_mask(torch.tensor(lengths))
    last = mask.sum(-1, keepdim=True) - 1 == torch.arange(mask.shape[1])
    return (last * SCORES[:, None] - 0.25).masked_fill(~mask, NAN), mask


def test_group_estimators_give_every_token_of_an_answer_what_the_answer_is_worth():
    """Worth with its KL: 1 - 5/4 and 3 - 1/4; the second prompt's answers are worth the same."""
    rewards, mask = judged()
    for name, first in (("rloo", 3.0), ("dr_grpo", 1.5), ("grpo", 1.5 / (3 / math.sqrt(2) + 1e-4))):
        advantages, returns = ADVANTAGES[name](rewards, None, mask, 2, **OWN.get(name, {}))
        wanted = torch.tensor([-first, first, 0, 0])[:, None] * mask
        torch.testing.assert_close(advantages, wanted)
        assert torch.equal(advantages[2:], torch.zeros(2, 5)) and returns is None


@pytest.mark.parametrize("name", ["rloo", "dr_grpo", "grpo"])
def test_f19_permuted_groups_and_answers_give_permuted_advantages(name):
    rewards, mask = judged([4, 2, 5, 1])
    order = torch.tensor([3, 2, 0, 1])
    before, _ = ADVANTAGES[name](rewards, None, mask, 2, **OWN.get(name, {}))
    after, _ = ADVANTAGES[name](rewards[order], None, mask[order], 2, **OWN.get(name, {}))
    assert torch.equal(after, before[order])


def test_rloo_is_unbiased_where_the_baseline_of_all_answers_is_not():
    """Over all pairs of answers of one state: the mean of A grad log p is the gradient of E[r], exactly (by hand)."""
    theta = torch.tensor([0.2, -0.3, 0.5], dtype=torch.float64)
    p, worth = theta.softmax(-1), torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64)
    true = p * (worth - p @ worth)  # of a softmax
    pairs = [(i, j) for i in range(3) for j in range(3)]

    def gradient(name):
        total = torch.zeros(3, dtype=torch.float64)
        for i, j in pairs:
            rewards, mask = worth[[i, j]][:, None], torch.ones(2, 1, dtype=torch.bool)
            a, _ = ADVANTAGES[name](rewards, None, mask, 2)
            scores = torch.eye(3, dtype=torch.float64)[[i, j]] - p
            total += p[i] * p[j] * (a * scores).mean(0)
        return total

    torch.testing.assert_close(gradient("rloo"), true)
    torch.testing.assert_close(gradient("dr_grpo"), true / 2)  # (K-1)/K of it: another step, the same direction


def test_gae_whitens_its_advantages_and_not_the_targets_of_the_critic():
    settings = {"gamma": 1.0, "lam": 0.95}
    plain, returns = ADVANTAGES["gae"](REWARDS, VALUES, MASK, 1, whiten=False, **settings)
    white, same = ADVANTAGES["gae"](REWARDS, VALUES, MASK, 1, whiten=True, **settings)
    assert torch.equal(returns, same) and torch.equal(white, masked_whiten(plain, MASK))


def test_reinforce_pp_whitens_over_the_tokens_of_the_batch():
    advantages, returns = ADVANTAGES["reinforce_pp"](REWARDS, None, MASK, 1, gamma=1.0)
    real = advantages[MASK].double()
    assert returns is None and abs(real.mean()) < 1e-6 and abs(real.std(correction=0) - 1) < 1e-6
