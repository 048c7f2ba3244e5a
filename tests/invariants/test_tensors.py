"""Invariants of the maths on [B,T] tensors: what stands in padding, and who comes first, changes nothing."""

from dataclasses import fields, replace

import torch
import torch.nn.functional as F

from llmtrain.objectives import kl
from llmtrain.objectives.advantages import dr_grpo, grpo, reinforce_pp, rloo
from llmtrain.objectives.experience import Experience, Rollout
from llmtrain.objectives.masked import length_mask, masked_mean, masked_var, masked_whiten
from llmtrain.objectives.ppo import AGGREGATIONS, aggregate, policy_loss, sequence_ratio, truncated_weights, value_loss
from llmtrain.objectives.ranking import bradley_terry, kway_loss
from llmtrain.objectives.statistics import explained_variance
from tests.invariants import games, lab

LENGTHS = [1, 2, 4, 7, 5, 3]
TENSORS = ("old_logp", "ref_logp", "values")


def rollout(dtype: torch.dtype = torch.float32, eighths: bool = False) -> Rollout:
    """Six responses; with `eighths` of numbers whose sums are exact."""
    mask, draws = length_mask(torch.tensor(LENGTHS)), torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        x = torch.randn(*shape, generator=draws, dtype=torch.float64)
        return ((x * 8).round() / 8 if eighths else x).to(dtype)

    ended = torch.tensor([True, False, True, True, True, False])
    responses = [[9] * n for n in LENGTHS]
    parts = [-draw(*mask.shape).abs() for _ in range(2)]
    return Rollout([[2]] * 6, responses, ended, mask, *parts, draw(*mask.shape), draw(6))


def moved(e: Experience) -> torch.Tensor:
    """[B,T] log-probabilities of a policy that went on from where it sampled."""
    return e.old_logp + 0.4 * (7 * e.ref_logp).sin()


def figures(r: Rollout) -> dict[str, torch.Tensor]:
    """Every loss, advantage, score and monitor that is made of a rollout."""
    e = lab.learnt(r, kl_coef=0.3, gamma=0.99, lam=0.9)
    new, m = moved(e), e.mask
    policy = policy_loss(new, e.old_logp, e.advantages, m, clip_low=0.2, clip_high=0.28, dual_clip=3.0)
    value = value_loss(e.values + 0.5 * new, e.values, e.returns, m, clip=0.2)
    whitened, to_go = reinforce_pp(e.rewards, m, gamma=0.9)
    tokens = {
        "rewards": e.rewards, "advantages": e.advantages, "returns": e.returns, "policy": policy.losses,
        "value": value.losses, "whitened": whitened, "to go": to_go,
        "weights": truncated_weights(new, e.old_logp, m, cap=1.1),
    }  # fmt: skip
    modes = {mode: torch.stack(aggregate(policy.losses, m, mode, 9)) for mode in AGGREGATIONS}
    return {
        **{name: x[m] for name, x in tokens.items()},
        **{name: total / total_n for name, (total, total_n) in modes.items()},
        **policy.monitors(),
        "ratio max": policy.ratio_max(),
        "clipped values": value.clipped[m].sum(),
        "kl": kl.kl_per_response(e.old_logp, e.ref_logp, m),
        "ratios": sequence_ratio(new, e.old_logp, m),
        "explained": torch.tensor(explained_variance(e.values, e.returns, m)),
    }


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], tolerance: float = 1e-6) -> None:
    assert ours.keys() == theirs.keys()
    for name in ours:
        told = (name + ": {}").format
        torch.testing.assert_close(ours[name], theirs[name], atol=tolerance, rtol=tolerance, msg=told)


def widened(r: Rollout, left: int, right: int, value: float) -> Rollout:
    """The rollout with columns of padding on both sides, all padding holding `value`."""
    mask = F.pad(r.mask, (left, right))
    padded = {name: F.pad(getattr(r, name), (left, right)).masked_fill(~mask, value) for name in TENSORS}
    return replace(r, mask=mask, **padded)


def test_F4_columns_of_padding_change_no_number():
    alone = figures(rollout())
    for columns in range(1, 8):
        for left, right in ((columns, 0), (0, columns), (columns, columns)):
            same(figures(widened(rollout(), left, right, 37.0)), alone)


def test_F5_nan_in_padding_reaches_no_loss_and_no_gradient():
    clean, poisoned = rollout(), widened(rollout(), 1, 2, torch.nan)
    same(figures(poisoned), figures(clean))
    e = lab.learnt(poisoned, kl_coef=0.3, gamma=1.0, lam=0.95)
    new, values = moved(e).requires_grad_(), (e.values + 0.1).requires_grad_()
    policy = policy_loss(new, e.old_logp, e.advantages, e.mask, clip_low=0.2, dual_clip=3.0).losses
    value = value_loss(values, e.values, e.returns, e.mask, clip=0.2).losses
    sums = [aggregate(losses, e.mask, mode, 9)[0] for losses in (policy, value) for mode in AGGREGATIONS]
    sums += [masked_mean(new, e.mask), masked_var(new, e.mask), masked_whiten(new, e.mask).square().sum()]
    sums += [sequence_ratio(new, e.old_logp, e.mask, mean=True).sum()]
    total = torch.stack(sums).sum()
    total.backward()
    assert bool(total.isfinite())
    for gradient in (new.grad, values.grad):
        assert gradient is not None and bool(gradient.isfinite().all())
        assert not bool(gradient[~e.mask].any())


def test_F18_without_discount_advantage_and_value_are_the_reward_to_go():
    """Eighths in float64 add up without rounding, so equal means equal; whitening must not reach the returns."""
    r = rollout(torch.float64, eighths=True)
    e = lab.learnt(r, kl_coef=0.5, gamma=1.0, lam=1.0, whiten=True)
    plain = lab.learnt(r, kl_coef=0.5, gamma=1.0, lam=1.0, whiten=False)
    for b, n in enumerate(LENGTHS):
        to_go = 0.0
        for t in reversed(range(n)):
            to_go += -0.5 * float(r.old_logp[b, t] - r.ref_logp[b, t]) + (float(r.scores[b]) if t == n - 1 else 0.0)
            assert float(e.returns[b, t]) == to_go
            assert float(plain.advantages[b, t] + r.values[b, t]) == to_go


def test_F19_permuted_sequences_give_permuted_numbers_and_the_same_loss():
    r, order = rollout(), [3, 0, 5, 1, 4, 2]
    e, other = (lab.learnt(x, kl_coef=0.3, gamma=1.0, lam=0.95) for x in (r, r.rows(order)))
    assert other.responses == [r.responses[i] for i in order]
    for field in fields(Experience):
        ours, theirs = getattr(e, field.name), getattr(other, field.name)
        if isinstance(ours, torch.Tensor):
            torch.testing.assert_close(theirs, ours[order], atol=1e-6, rtol=1e-6)
    losses = [policy_loss(moved(x), x.old_logp, x.advantages, x.mask, clip_low=0.2).losses for x in (e, other)]
    torch.testing.assert_close(losses[1].sum(), losses[0].sum(), atol=1e-5, rtol=0)


def test_F24_ranking_loss_is_bradley_terry_for_two_and_knows_no_order_and_no_constant():
    """Eighths again: the same sums in another order are the same numbers."""
    scores = torch.tensor([0.5, -0.25, 1.125, 0.75, -1.0, 2.0, 0.25], dtype=torch.float64)
    group, ranks = torch.tensor([0, 0, 0, 0, 1, 1, 1]), torch.tensor([2.0, 1, 3, 2, 2, 3, 1])
    total, prompts = kway_loss(scores, group, ranks)
    for order in ([6, 5, 4, 3, 2, 1, 0], [3, 6, 1, 0, 4, 2, 5]):
        again, _ = kway_loss(scores[order], group[order], ranks[order])
        torch.testing.assert_close(again, total, atol=1e-15, rtol=0)
    assert prompts == 2
    assert torch.equal(kway_loss(scores + 4, group, ranks)[0], total)
    two, pair = torch.tensor([0, 0]), torch.tensor([2.0, 1])
    assert torch.equal(kway_loss(scores[:2], two, pair)[0], bradley_terry(scores[1:2], scores[:1])[0])


def test_F36_edges_are_finite_and_defined():
    nothing, none = torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool)
    assert float(masked_mean(nothing, none)) == float(masked_var(nothing, none)) == 0.0
    assert masked_mean(nothing, none, dim=-1).tolist() == [0.0, 0.0]
    assert [float(x) for x in aggregate(nothing, none, "seq-mean-token-mean")] == [0.0, 0.0]
    empty = torch.zeros(0, requires_grad=True)
    policy = policy_loss(empty, empty, empty, clip_low=0.2)
    policy.losses.sum().backward()
    assert float(policy.ratio_max()) == 0.0 and empty.grad is not None
    equal = torch.full((2, 7), 0.3)  # their mean is not 0.3 in float32
    for estimator in (lambda s: grpo(s, eps=1e-9, ddof=1), dr_grpo, rloo):
        assert not bool(estimator(equal).any())
    # an end token at once, in a batch of one: a single number has no variance to be whitened by
    at_once = games.player(games.Game(lambda ids: 2.0, 3, end=1), [1e-6, 1.0], 0.1, batch={"rows": 1})
    alone = lab.learnt(at_once.roll_out(0), kl_coef=0.1, gamma=1.0, lam=0.95)
    assert alone.responses == [[1]] and alone.advantages.tolist() == [[0.0]]
    assert lab.train(at_once, 1).skipped == 0
    assert all(torch.isfinite(p).all() for p in at_once.trained.parameters())
