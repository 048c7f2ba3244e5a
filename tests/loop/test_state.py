"""What a checkpoint holds beside the exported model, and back."""

import json

import torch
from fakes import ONE, Fake, Numbers, optimizer
from torch import nn

from llmtrain.loop import state
from llmtrain.loop.learner import Rate
from llmtrain.loop.update import Totals, update
from llmtrain.run.checkpoints import Checkpoints


def with_critic() -> Fake:
    """Exports one part of what it trains, as PPO exports the policy and not the critic."""
    fake = Fake()
    fake.critic = nn.Linear(2, 1)
    fake.trained = nn.ModuleDict({"policy": fake.module, "critic": fake.critic})
    return fake


def test_what_the_export_holds_is_not_stored_twice():
    fake = with_critic()
    assert set(state.tensors(fake, optimizer(fake))) == {"trained.critic.weight", "trained.critic.bias"}


def test_everything_comes_back(tmp_path):
    fake = with_critic()
    adam = optimizer(fake)
    update(fake, adam, [Numbers(torch.tensor([1.0, 2.0]))], 1.0, ONE, Totals())
    checkpoints = Checkpoints(tmp_path, 1, 0)
    saved = {"learner": {}, "note": 7}
    checkpoints.save(3, fake.save, state.tensors(fake, adam), saved, None)
    other = with_critic()
    fresh = optimizer(other)
    assert not torch.equal(other.critic.weight, fake.critic.weight)
    found = state.restore(other, fresh, checkpoints.newest())
    assert found["note"] == 7
    for name, tensor in fake.trained.state_dict().items():
        assert torch.equal(other.trained.state_dict()[name], tensor)
    before, after = state.tensors(fake, adam), state.tensors(other, fresh)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_evaluations_survive_json():
    values = {"eval/accuracy": Rate(3.5, 7), "eval/loss": 1.25}
    assert state.unpack(json.loads(json.dumps(state.pack(values)))) == values
