import math

import pytest
import torch

from llmtrain.config.schema import DPOLoss
from llmtrain.errors import ConfigError
from llmtrain.objectives.dpo import LOSSES, SMOOTHED, PairLogprobs, dpo_loss

POLICY = PairLogprobs(torch.tensor([-20.0, -35.5, -12.0]).double(), torch.tensor([-25.0, -30.0, -12.5]).double())
REFERENCE = PairLogprobs(torch.tensor([-21.0, -34.0, -12.0]).double(), torch.tensor([-24.0, -31.0, -12.5]).double())


def swapped(p):
    return PairLogprobs(p.rejected, p.chosen)


def test_names_are_those_of_the_configuration():
    assert set(LOSSES) == {loss.name for loss in DPOLoss}


@pytest.mark.parametrize("name", LOSSES)
def test_f23_swapping_the_answers_turns_h_around(name):
    """Twice the wrong way round (answers, and policy against reference) is the right way round."""
    smoothing = 0.1 if name in SMOOTHED else 0.0
    settings = {"loss": name, "beta": 0.1, "label_smoothing": smoothing}
    swap = dpo_loss(swapped(POLICY), swapped(REFERENCE), **settings).losses
    negative = LOSSES[name](-torch.tensor([2.0, -2.5, 0.0]).double(), 0.1, smoothing)
    torch.testing.assert_close(swap, negative)
    torch.testing.assert_close(
        dpo_loss(swapped(REFERENCE), swapped(POLICY), **settings).losses, dpo_loss(POLICY, REFERENCE, **settings).losses
    )


def test_f22_at_init_the_loss_is_ln2_and_the_gradient_half_beta():
    chosen = REFERENCE.chosen.clone().requires_grad_()
    result = dpo_loss(PairLogprobs(chosen, REFERENCE.rejected), REFERENCE, beta=0.1)
    result.losses.sum().backward()
    torch.testing.assert_close(result.losses, torch.full((3,), math.log(2)).double())
    torch.testing.assert_close(chosen.grad, torch.full((3,), -0.05).double())
    assert result.margin.abs().max() == 0


def test_robust_is_unbiased_under_flipped_labels():
    """With a share e of flipped labels its expectation is the loss on clean ones (arXiv 2403.00409)."""
    h, e = torch.tensor([2.0, -2.5, 0.3]).double(), 0.2
    expectation = (1 - e) * LOSSES["robust"](h, 0.1, e) + e * LOSSES["robust"](-h, 0.1, e)
    torch.testing.assert_close(expectation, LOSSES["sigmoid"](h, 0.1, 0.0))


def test_half_precision_sums_keep_their_margin():
    policy = PairLogprobs(torch.tensor([-208.0]).bfloat16(), torch.tensor([-200.0]).bfloat16())
    reference = PairLogprobs(torch.tensor([-207.7]), torch.tensor([-200.0]))
    assert abs(float(dpo_loss(policy, reference, beta=1.0).margin) + 0.3) < 1e-4


@pytest.mark.parametrize("name", sorted(set(LOSSES) - set(SMOOTHED)))
def test_f35_label_smoothing_that_would_do_nothing(name):
    with pytest.raises(ConfigError, match="label_smoothing=0.1"):
        dpo_loss(POLICY, REFERENCE, loss=name, beta=0.1, label_smoothing=0.1)


def test_f35_robust_cannot_divide_by_zero():
    with pytest.raises(ConfigError, match="below 0.5"):
        dpo_loss(POLICY, REFERENCE, loss="robust", beta=0.1, label_smoothing=0.5)


def test_f36_no_pairs():
    nothing = PairLogprobs(torch.zeros(0, requires_grad=True), torch.zeros(0))
    dpo_loss(nothing, nothing, beta=0.1).losses.sum().backward()
    assert nothing.chosen.grad.shape == (0,)
