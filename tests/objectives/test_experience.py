import torch

from llmtrain.objectives.experience import Rollout, learn_from, response_slots
from llmtrain.objectives.masked import unflatten

PROMPTS = [[1], [1, 2], [3]]
RESPONSES = [[5, 6, 0], [7], [8, 0]]


def rollout():
    mask = response_slots(RESPONSES)
    flat = torch.tensor([-1.0, -2.0, -0.5, -0.25, -1.5, -1.0], dtype=torch.float64)
    ref = unflatten(flat + torch.tensor([0.5, -0.5, 0.0, 0.25, 0.0, 1.0]), mask)
    values = unflatten(torch.tensor([0.5, 0.25, 0.0, 1.0, -0.5, 0.5]).double(), mask)
    ended, scores = torch.tensor([True, False, True]), torch.tensor([1.0, -1.0, 2.0]).double()
    return Rollout(PROMPTS, RESPONSES, ended, mask, unflatten(flat, mask), ref, values, scores)


def test_mask_comes_from_lengths():
    assert response_slots(RESPONSES).tolist() == [[True, True, True], [True, False, False], [True, True, False]]
    assert (len(rollout()), rollout().tokens) == (3, 6)


def test_the_last_token_carries_score_and_kl():
    e = learn_from(rollout(), "gae", kl_coef=0.5, gamma=1.0, lam=1.0, whiten=False)
    assert e.rewards.tolist() == [[0.25, -0.25, 1.0], [-0.875, 0, 0], [0, 2.5, 0]]
    assert e.returns.tolist() == [[1.0, 0.75, 1.0], [-0.875, 0, 0], [2.5, 2.5, 0]]
    assert torch.equal(e.advantages, e.returns - e.values)


def test_returns_are_those_before_whitening():
    plain = learn_from(rollout(), "gae", kl_coef=0.5, gamma=1.0, lam=0.95, whiten=False)
    white = learn_from(rollout(), "gae", kl_coef=0.5, gamma=1.0, lam=0.95, whiten=True)
    assert torch.equal(white.returns, plain.returns)
    real = white.advantages[white.mask]
    assert abs(real.mean()) < 1e-12 and abs(real.std(correction=0) - 1) < 1e-6


def test_f4_rows_are_cut_to_their_longest_and_lose_nothing():
    e = learn_from(rollout(), "gae", kl_coef=0.5, gamma=1.0, lam=0.95, whiten=True)
    part = e.rows([2, 1])
    assert type(part) is type(e) and part.mask.shape == (2, 2)
    assert part.prompts == [[3], [1, 2]] and part.responses == [[8, 0], [7]]
    assert part.ended.tolist() == [True, False] and part.scores.tolist() == [2.0, -1.0]
    assert torch.equal(part.advantages, e.advantages[[2, 1], :2]) and part.tokens == 3


def test_f4_alone_or_in_a_batch_the_same():
    settings = {"kl_coef": 0.5, "gamma": 0.99, "lam": 0.95, "whiten": False}
    together = learn_from(rollout(), "gae", **settings)
    for b, length in enumerate([3, 1, 2]):
        alone = learn_from(rollout().rows([b]), "gae", **settings)
        assert torch.equal(alone.advantages, together.advantages[b : b + 1, :length])
        assert torch.equal(alone.returns, together.returns[b : b + 1, :length])


def test_f20_minibatches_cover_every_sequence_once():
    e = learn_from(rollout(), "gae", kl_coef=0.5, gamma=1.0, lam=0.95, whiten=True)
    parts = [e.rows([0, 2]), e.rows([1])]
    assert sum(p.tokens for p in parts) == e.tokens
    assert sorted(map(tuple, (r for p in parts for r in p.responses))) == sorted(map(tuple, RESPONSES))
