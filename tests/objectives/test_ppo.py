import pytest
import torch

from llmtrain.objectives.masked import length_mask
from llmtrain.objectives.ppo import AGGREGATIONS, aggregate, policy_loss, sequence_ratio, truncated_weights, value_loss

NAN = float("nan")


def draw(seed):
    return torch.randn(4, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MASK = length_mask(torch.tensor([5, 1, 3, 4]))
NEW, OLD, ADV = (draw(seed) for seed in range(3))
SETTINGS = {"clip_low": 0.2, "clip_high": 0.28, "dual_clip": 3.0}


def total(new, old, adv, mask):
    """Policy and value loss with everything on, as one number."""
    policy = policy_loss(new, old, adv, mask, **SETTINGS).losses
    value = value_loss(new, old, adv, mask, clip=0.2).losses
    return (policy + value).sum()


@pytest.mark.parametrize("pad", range(1, 8))
@pytest.mark.parametrize("left", [False, True])
def test_f4_f5_pad_columns_of_nan_change_nothing(pad, left):
    sides = (pad, 0) if left else (0, pad)
    inputs = [x.clone().requires_grad_() for x in (NEW, OLD, ADV)]
    poisoned = [torch.where(MASK, x, NAN) for x in inputs]
    padded = [torch.nn.functional.pad(x, sides, value=NAN) for x in poisoned]
    wide_mask = torch.nn.functional.pad(MASK, sides)
    loss = total(*padded, wide_mask)
    torch.testing.assert_close(loss, total(*inputs, MASK), rtol=1e-12, atol=0)
    loss.backward()
    for x in inputs:
        assert x.grad.isfinite().all() and (x.grad[~MASK] == 0).all()
    narrow, wide = policy_loss(NEW, OLD, ADV, MASK, **SETTINGS), policy_loss(*padded, wide_mask, **SETTINGS)
    for name, value in narrow.monitors().items():
        torch.testing.assert_close(wide.monitors()[name], value)
    assert wide.ratio_max() == narrow.ratio_max()


@pytest.mark.parametrize("mode", AGGREGATIONS)
@pytest.mark.parametrize("pad", [1, 7])
def test_f4_aggregation_ignores_the_width(mode, pad):
    narrow = aggregate(NEW, MASK, mode, max_length=9)
    wide = aggregate(
        torch.nn.functional.pad(NEW, (0, pad), value=NAN), torch.nn.functional.pad(MASK, (0, pad)), mode, max_length=9
    )
    torch.testing.assert_close(wide, narrow)


def test_flat_tokens_equal_padded_rows():
    flat = policy_loss(NEW[MASK], OLD[MASK], ADV[MASK], **SETTINGS)
    padded = policy_loss(NEW, OLD, ADV, MASK, **SETTINGS)
    assert torch.equal(flat.losses, padded.losses[MASK])
    for name, value in flat.monitors().items():
        torch.testing.assert_close(padded.monitors()[name], value)
    values = value_loss(NEW[MASK], OLD[MASK], ADV[MASK], clip=0.2)
    assert torch.equal(values.losses, value_loss(NEW, OLD, ADV, MASK, clip=0.2).losses[MASK])


def test_f1_first_minibatch():
    new = OLD.clone().requires_grad_()
    loss = policy_loss(new, OLD, ADV, MASK, **SETTINGS)
    loss.losses.sum().backward()
    sums = loss.monitors()
    assert all(sums[name] == 0 for name in ("clipfrac", "clipfrac_lower", "kl_k1", "kl_k2", "kl_k3"))
    assert sums["ratio"] == MASK.sum() and loss.ratio_max() == 1
    assert torch.equal(new.grad, torch.where(MASK, -ADV, 0.0))


def test_f19_permuted_sequences_have_the_same_loss():
    order = torch.tensor([2, 0, 3, 1])
    shuffled = policy_loss(NEW[order], OLD[order], ADV[order], MASK[order], **SETTINGS)
    assert torch.equal(shuffled.losses, policy_loss(NEW, OLD, ADV, MASK, **SETTINGS).losses[order])


def test_f10_token_mean_over_micro_batches():
    whole, n = aggregate(NEW, MASK)
    parts = [aggregate(NEW[i : i + 1], MASK[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(sum(p[0] for p in parts) / sum(p[1] for p in parts), whole / n)


@pytest.mark.parametrize("clip", [0.2, None])
def test_f37_gradients_by_finite_differences(clip):
    old, adv = OLD[MASK], ADV[MASK]

    def losses(x):
        dual = 3.0 if clip else None
        policy = policy_loss(x, old, adv, clip_low=clip or 1e9, dual_clip=dual).losses
        return policy.sum() + value_loss(x, old, adv, clip=clip).losses.sum()

    assert torch.autograd.gradcheck(losses, NEW[MASK].clone().requires_grad_())


def test_f36_nothing_real_and_no_tokens():
    nothing = torch.zeros_like(MASK)
    new = torch.full_like(NEW, NAN).requires_grad_()
    loss = policy_loss(new, OLD, ADV, nothing, **SETTINGS)
    for mode in AGGREGATIONS:
        assert [x.item() for x in aggregate(loss.losses, nothing, mode, 5)] == [0, 0]
    loss.losses.sum().backward()
    assert (new.grad == 0).all() and loss.ratio_max() == 0
    empty = torch.zeros(0)
    assert policy_loss(empty, empty, empty, clip_low=0.2).ratio_max() == 0
    assert value_loss(empty, empty, empty, clip=0.2).losses.sum() == 0


def test_dual_clip_bounds_the_loss_of_bad_tokens_alone():
    new, old, adv = torch.tensor([5.0, 5.0]), torch.zeros(2), torch.tensor([-1.0, 1.0])
    loss = policy_loss(new, old, adv, clip_low=0.2, dual_clip=3.0)
    torch.testing.assert_close(loss.losses, torch.tensor([3.0, -1.2]))
    assert loss.clipped_lower.tolist() == [True, False]


def test_sequence_ratio_of_a_single_token_is_its_ratio():
    mask = length_mask(torch.tensor([1]), 3)
    for mean in (True, False):
        got = sequence_ratio(torch.tensor([[0.5, NAN, NAN]]), torch.tensor([[0.25, NAN, NAN]]), mask, mean=mean)
        torch.testing.assert_close(got, torch.tensor([0.25]).exp())


def test_weights_of_an_exact_sampler_are_one_and_carry_no_gradient():
    old = NEW.clone().requires_grad_()
    weights = truncated_weights(old, NEW, MASK, cap=2.0)
    assert torch.equal(weights, MASK.double()) and not weights.requires_grad
