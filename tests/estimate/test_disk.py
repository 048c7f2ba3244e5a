"""Sizes of checkpoints to the byte, against those that are written."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from llmtrain.config.choices import CriticName
from llmtrain.estimate import disk, needs
from llmtrain.estimate.needs import Model
from llmtrain.estimate.shape import head
from llmtrain.loop import state
from llmtrain.loop.optimizer import adamw
from llmtrain.models import blank, scalar
from llmtrain.models.lora import Adapters
from llmtrain.run import manifest
from llmtrain.run.checkpoints import Checkpoints
from llmtrain.stages.policy import Policy
from tests.invariants import lab

TENSORS = ("model.safetensors", manifest.TRAINER_TENSORS)


def written(learner: Any, folder: Path) -> dict[str, int]:
    """Bytes of the files of tensors of a checkpoint after one update."""
    optimizer = adamw(learner.trained, lr=0.0, betas=(0.9, 0.9), eps=1e-8, weight_decay=0.0)
    for parameter in learner.trained.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    path = Checkpoints(folder, 1, 0).save(1, learner.save, state.tensors(learner, optimizer), {}, None)
    sizes = {name: entry["bytes"] for name, entry in manifest.read(path).files.items()}
    return {name: sizes[name] for name in TENSORS}


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("architecture", lab.ARCHITECTURES)
def test_checkpoint_of_a_policy_is_exact(architecture, tied, tmp_path):
    model, session = lab.model(architecture, tie_embeddings=tied), lab.Alone()
    found = written(Policy(model, lab.words(), session), tmp_path / "checkpoints")  # type: ignore[arg-type]
    shape = blank.shape(model.config)
    assert found["model.safetensors"] == disk.model(shape)
    assert sum(found.values()) == needs.checkpoint([Model("policy", shape, trained=True)], ("",))


@pytest.mark.parametrize("architecture", lab.ARCHITECTURES)
def test_checkpoint_with_a_critic_is_exact(architecture, tmp_path):
    model = lab.model(architecture)
    found = written(lab.alignment(model), tmp_path / "checkpoints")
    own, critic = blank.shape(model.config), blank.shape(model.config, scalar=True)
    models = [Model("policy", own, trained=True), Model("critic", critic, trained=True), Model("reference", own)]
    assert sum(found.values()) == needs.checkpoint(models, ("policy.", "critic.model."))


def test_checkpoint_with_a_critic_on_the_policys_trunk_is_exact(tmp_path):
    model = lab.model("llama")
    critic = scalar.Head(16)
    found = written(lab.alignment(model, critic=critic, advantage={"critic": CriticName.shared}), tmp_path / "saved")
    own = blank.shape(model.config)
    models = [Model("policy", own, trained=True), Model("critic", head(16), trained=True)]
    assert found["model.safetensors"] == disk.model(own)
    assert sum(found.values()) == needs.checkpoint(models, ("policy.", "critic."))


def test_checkpoint_with_adapters_is_exact(tmp_path):
    model = lab.model("gpt2")
    adapters = Adapters(model, rank=3, alpha=6.0, targets=[], seed=0)
    critic = scalar.Head(16)
    found = written(lab.alignment(model, critic=critic, adapters=adapters), tmp_path / "saved")
    own = blank.shape(model.config, rank=3)
    models = [Model("policy", own, trained=True), Model("critic", head(16), trained=True)]
    assert found["model.safetensors"] == disk.model(own)
    assert sum(found.values()) == needs.checkpoint(models, ("policy.", "critic."))


def test_checkpoint_of_a_judge_is_exact(tmp_path):
    judge = scalar.from_causal(lab.model("llama"), seed=0)

    class Judging(Policy):
        def save(self, path: Path) -> None:
            scalar.save(judge, lab.words(), path)

    session: Any = lab.Alone()
    model: Any = judge
    found = written(Judging(model, lab.words(), session), tmp_path / "checkpoints")
    shape = blank.shape(lab.model("llama").config, scalar=True)
    assert sum(found.values()) == needs.checkpoint([Model("judge", shape, trained=True)], ("model.",))


def test_header_of_safetensors_is_counted(tmp_path):
    tensors = {"b.long name": (3, 5), "a": (), "c": (1000,)}
    save_file({name: torch.zeros(shape) for name, shape in tensors.items()}, tmp_path / "x.safetensors")
    assert disk.safetensors(tensors) == (tmp_path / "x.safetensors").stat().st_size


def test_a_new_checkpoint_lies_beside_those_that_are_kept():
    assert disk.checkpoints(saves=10, keep_last=2, keep_best=1) == 4
    assert disk.checkpoints(saves=3, keep_last=2, keep_best=1) == 3
