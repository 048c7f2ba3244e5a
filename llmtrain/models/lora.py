"""Low-rank adapters (LoRA, arXiv 2106.09685): a model's weights stay, two thin matrices beside each layer learn.

y = x W' + (alpha / r) (x A') B', B = 0 at first: the adapted model begins as the model itself, to the bit. Switched
off it is that again, so a reference needs no weights of its own.

Letters: N tokens, r rank, d_in and d_out of a layer.

This is not the library peft: it puts its own layers, names and file formats into the model, where hooks leave the model
as it is, so that nothing else has to know of them (packed rows, the sampler's cache, saving). What it has beyond them
(quantised weights, a dozen other methods, its own checkpoints) has no use here, and it costs seconds at start.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from llmtrain.errors import InitError

PATH = "/"  # between the parts of a layer's name, as torch has no dots in one


class Adapter(nn.Module):
    """What is added to the output of one layer."""

    def __init__(self, d_in: int, d_out: int, rank: int, scale: float, generator: torch.Generator):
        super().__init__()
        self.a = nn.Parameter(torch.randn(rank, d_in, generator=generator) / math.sqrt(d_in))
        self.b = nn.Parameter(torch.zeros(d_out, rank))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """[..., d_in] -> [..., d_out]"""
        return F.linear(F.linear(x, self.a) * self.scale, self.b)

    def delta(self) -> Tensor:
        """[d_out, d_in] what it adds to the layer's weight."""
        return self.scale * self.b @ self.a


class Adapters(nn.ModuleDict):
    """The adapters of a model, whose own weights learn no more. `a` and `b` of every layer are all that they hold."""

    def __init__(self, model: PreTrainedModel, *, rank: int, alpha: float, targets: Sequence[str], seed: int):
        """alpha / rank is the factor on what they add; targets as `layers` has them. Raises InitError."""
        draws = torch.Generator().manual_seed(seed)
        adapted = layers(model, targets)
        own = {name: Adapter(*size(layer), rank, alpha / rank, draws) for name, layer in adapted.items()}
        super().__init__({name.replace(".", PATH): adapter for name, adapter in own.items()})
        self.to(model.device)
        self.on = True
        self.model = (model,)  # in a tuple, or it were a part of this module
        model.requires_grad_(False)
        for name, layer in adapted.items():
            layer.register_forward_hook(partial(self._add, own[name]))

    def _add(self, adapter: Adapter, layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
        return out + adapter(given[0]) if self.on else out

    @contextmanager
    def off(self) -> Iterator[PreTrainedModel]:
        """The model without them, inside the block."""
        before, self.on = self.on, False
        try:
            yield self.model[0]
        finally:
            self.on = before

    @torch.no_grad()
    def merged(self) -> dict[str, Tensor]:
        """The state of a plain model that computes what the adapted one does; merged matrices lie on the CPU."""
        (model,) = self.model
        state = model.state_dict()
        for path, adapter in self.items():
            assert isinstance(adapter, Adapter)
            name = path.replace(PATH, ".")
            layer, delta = model.get_submodule(name), adapter.delta()
            weight = state[f"{name}.weight"]
            state[f"{name}.weight"] = (weight + (delta.t() if isinstance(layer, Conv1D) else delta)).cpu()
        return state


def frozen(reference: PreTrainedModel | Adapters) -> AbstractContextManager[PreTrainedModel]:
    """The reference inside the block: a model of its own, or the policy with its adapters off."""
    return reference.off() if isinstance(reference, Adapters) else nullcontext(reference)


def layers(model: PreTrainedModel, targets: Sequence[str]) -> dict[str, nn.Linear | Conv1D]:
    """The layers of the blocks that get adapters, by name: those whose last names are in `targets`, or all without any.

    Raises InitError for a target that is no such layer.
    """
    inside = {id(module) for module in model.base_model.modules()}
    there = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | Conv1D) and id(layer) in inside
    }
    known = list(dict.fromkeys(name.rpartition(".")[2] for name in there))
    if not known:
        raise InitError(f"adapter.rank: {type(model).__name__} has no linear layer to adapt; set adapter=none")
    for target in targets:
        if target not in known:
            raise InitError(
                f"adapter.targets: {target} is no linear layer of {type(model).__name__}; it has {', '.join(known)}"
            )
    return {name: layer for name, layer in there.items() if not targets or name.rpartition(".")[2] in targets}


def sizes(model: PreTrainedModel, rank: int, targets: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """name -> shape of all weights that the adapters of a model would have."""
    found: dict[str, tuple[int, ...]] = {}
    for name, layer in layers(model, targets).items():
        d_in, d_out = size(layer)
        path = name.replace(".", PATH)
        found |= {f"{path}.a": (rank, d_in), f"{path}.b": (d_out, rank)}
    return found


def size(layer: nn.Linear | Conv1D) -> tuple[int, int]:
    """(d_in, d_out); Conv1D holds its weight the other way round."""
    first, second = layer.weight.shape
    return (first, second) if isinstance(layer, Conv1D) else (second, first)
