import pytest
import torch

from llmtrain.config.choices import KLName
from llmtrain.objectives.kl import CONTROLLERS, controller, k3, kl_per_response, standard_error

NAN = float("nan")


def test_names_are_those_of_the_configuration():
    assert set(CONTROLLERS) == {name.name for name in KLName}


def test_k3_keeps_small_ratios():
    """exp(-x) - 1 + x loses every digit at 1e-4 in float32; the series says x^2/2."""
    assert abs(float(k3(torch.tensor(1e-4))) / 0.5e-8 - 1) < 0.1
    assert float(k3(torch.tensor(0.0))) == 0


def test_f3_policy_equal_to_reference_has_kl_zero_exactly():
    logp = torch.tensor([[-0.1, -2.3], [-0.7, NAN]])
    assert torch.equal(kl_per_response(logp, logp, ~logp.isnan()), torch.zeros(2))


def test_f32_a_restored_controller_goes_on_where_it_was():
    recorded = [12.0, 3.0, 6.5, 6.0, 0.0]
    whole, half = controller("adaptive", 0.15, 6.0, 10000), controller("adaptive", 0.15, 6.0, 10000)
    for measured in recorded:
        whole.update(measured, 512)
    for measured in recorded[:2]:
        half.update(measured, 512)
    resumed = controller("adaptive", 0.9, 6.0, 10000)
    resumed.load_state_dict(half.state_dict())
    for measured in recorded[2:]:
        resumed.update(measured, 512)
    assert resumed.coef == whole.coef == pytest.approx(0.149081812399604)


def test_f32_the_error_is_clipped_on_both_sides():
    for measured, expected in ((1e9, 1.2), (0.0, 0.8)):
        control = controller("adaptive", 1.0, 6.0, 100)
        control.update(measured, 100)
        assert control.coef == pytest.approx(expected)


def test_fixed_stays():
    control = controller("fixed", 0.05, 6.0, 100)
    control.update(50.0, 512)
    assert control.coef == 0.05 and control.state_dict() == {"coef": 0.05}


def test_standard_error_of_the_mean():
    """sd 2 of {1, 5, 1, 5}, over the root of 4."""
    assert standard_error(torch.tensor([1.0, 5.0, 1.0, 5.0])) == 1.0 and standard_error(torch.zeros(4)) == 0
