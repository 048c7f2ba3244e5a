"""AdamW's groups, and its state through plain tensors and back."""

import pytest
import torch
from fakes import ONE, Fake, Numbers, optimizer
from torch import nn

from llmtrain.loop.optimizer import adamw, from_tensors, set_lr, to_tensors
from llmtrain.loop.update import Totals, update


def train(fake: Fake, adam: torch.optim.Optimizer, steps: range) -> None:
    """A gradient that shrinks from step to step, so that the moments matter."""
    for step in steps:
        update(fake, adam, [Numbers(torch.tensor([0.5**step]))], 1e9, ONE, Totals())


def test_vectors_do_not_decay():
    module = nn.ModuleDict({"linear": nn.Linear(3, 2), "norm": nn.LayerNorm(3)})
    adam = adamw(module, lr=0.1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.2)
    decay = {n: g["weight_decay"] for g in adam.param_groups for n in g["param_names"]}
    assert decay == {"linear.weight": 0.2, "linear.bias": 0.0, "norm.weight": 0.0, "norm.bias": 0.0}


def test_prefix_has_its_own_rate_through_the_schedule():
    module = nn.ModuleDict({"policy": nn.Linear(2, 2), "critic": nn.Linear(2, 2)})
    rate = {"policy": 0.1, "critic": 0.5}
    adam = adamw(module, lr=0.1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0, lr_of=lambda n: rate[n.split(".")[0]])
    set_lr(adam, 0.5)
    set_lr(adam, 0.2)  # of the full height, not of what the call before left
    lr = {n.split(".")[0]: g["lr"] for g in adam.param_groups for n in g["param_names"]}
    assert lr == pytest.approx({"policy": 0.02, "critic": 0.1})


def test_frozen_parameters_are_left_alone():
    module = nn.Linear(2, 2)
    module.bias.requires_grad_(False)
    adam = adamw(module, lr=0.1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    assert [n for g in adam.param_groups for n in g["param_names"]] == ["weight"]


def test_state_round_trip_goes_on_bit_for_bit():
    whole, first = Fake(), Fake()
    adam = optimizer(whole)
    train(whole, adam, range(5))
    early = optimizer(first)
    train(first, early, range(3))
    saved = {name: tensor.clone() for name, tensor in to_tensors(early).items()}
    second = Fake()
    second.module.load_state_dict(first.module.state_dict())
    late = optimizer(second)
    from_tensors(late, saved)
    train(second, late, range(3, 5))
    assert torch.equal(second.module["w"], whole.module["w"])
    assert all(torch.equal(a, to_tensors(adam)[name]) for name, a in to_tensors(late).items())
    forgetful = optimizer(third := Fake())
    third.module.load_state_dict(first.module.state_dict())
    train(third, forgetful, range(3, 5))
    assert not torch.equal(third.module["w"], whole.module["w"])  # without the moments it is another run


def test_fresh_optimizer_has_nothing_to_save():
    assert to_tensors(optimizer(Fake())) == {}
