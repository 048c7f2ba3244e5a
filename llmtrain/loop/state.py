"""What a checkpoint holds beside the Hugging Face directory, and back."""

from dataclasses import astuple
from typing import Any

from torch import Tensor

from llmtrain.loop import optimizer as optim
from llmtrain.loop.learner import Evaluation, Learner, Rate
from llmtrain.run.checkpoints import Checkpoint


def tensors(learner: Learner, optimizer: Any) -> dict[str, Tensor]:
    """Optimizer moments, and trained weights that the exported model does not hold (a critic, say)."""
    exported = {id(tensor) for tensor in learner.exported.state_dict(keep_vars=True).values()}
    beside = {
        f"trained.{name}": tensor.detach()
        for name, tensor in learner.trained.state_dict(keep_vars=True).items()
        if id(tensor) not in exported
    }
    return {**beside, **optim.to_tensors(optimizer)}


def restore(learner: Learner, optimizer: Any, checkpoint: Checkpoint) -> dict[str, Any]:
    """Put everything back in place; returns the JSON state."""
    learner.load(checkpoint.path)
    saved = checkpoint.tensors()
    own = learner.trained.state_dict(keep_vars=True)
    for name, tensor in own.items():
        if f"trained.{name}" in saved:
            tensor.data.copy_(saved[f"trained.{name}"])
    optim.from_tensors(optimizer, saved)
    state = checkpoint.state()
    learner.load_state_dict(state["learner"])
    return state


def pack(values: Evaluation) -> dict[str, Any]:
    """An evaluation as JSON: numbers, and [passed, n, independent] for rates."""
    return {name: list(astuple(v)) if isinstance(v, Rate) else v for name, v in values.items()}


def unpack(saved: dict[str, Any]) -> Evaluation:
    return {name: Rate(*v) if isinstance(v, list) else v for name, v in saved.items()}
