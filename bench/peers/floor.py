"""What the machine can do: the matrix products of a training step and nothing else. And what such a step costs.

Letters: N tokens of a step, M of them targets, d width.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from transformers import PreTrainedModel

SQUARES = (1024, 2048)
KINDS = {"matrix products": ("aten::mm", "aten::addmm", "aten::bmm"), "attention": ("aten::_scaled_dot_product",)}


def products(model: PreTrainedModel, tokens: int, targets: int) -> Iterator[tuple[int, int, int]]:
    """(rows, in, out) of every matrix that a step multiplies: of the blocks all tokens, of the head the targets."""
    head = model.get_output_embeddings().get_parameter("weight")
    looked_up = model.get_input_embeddings().get_parameter("weight")
    for weight in model.parameters():
        if weight.dim() == 2 and weight is not looked_up:
            yield (targets if weight is head else tokens), weight.shape[1], weight.shape[0]


def training_flops(model: PreTrainedModel, tokens: int, targets: int, squares: int) -> float:
    """Operations of a forward and backward: 6 a weight and row, and attention over the causal half of each square.

    squares: sum over sequences of length squared. Nothing that is computed a second time is counted.
    """
    matrices = sum(6 * n * inner * outer for n, inner, outer in products(model, tokens, targets))
    config = model.config.get_text_config()
    return matrices + 6 * config.num_hidden_layers * config.hidden_size * squares


def step(model: PreTrainedModel, tokens: int, targets: int) -> tuple[Callable[[], None], float]:
    """A call that multiplies what a step multiplies, forward and both gradients, and how many operations that is."""
    draws = torch.Generator().manual_seed(0)
    shapes = list(products(model, tokens, targets))
    made: dict[tuple[int, int], Tensor] = {}

    def tensor(rows: int, columns: int, role: str) -> Tensor:
        key: Any = (rows, columns, role)
        if key not in made:
            made[key] = torch.randn(rows, columns, generator=draws)
        return made[key]

    calls = [
        (
            tensor(n, inner, "x"), tensor(outer, inner, "w"), tensor(n, outer, "g"),
            tensor(n, outer, "y"), tensor(n, inner, "gx"), tensor(outer, inner, "gw"),
        )
        for n, inner, outer in shapes
    ]  # fmt: skip

    def run() -> None:
        for x, w, g, y, gx, gw in calls:
            torch.mm(x, w.t(), out=y)
            torch.mm(g, w, out=gx)
            torch.mm(g.t(), x, out=gw)

    return run, float(sum(6 * n * inner * outer for n, inner, outer in shapes))


def square(size: int) -> tuple[Callable[[], None], float]:
    """The product of two squares."""
    a, b, out = torch.randn(3, size, size, generator=torch.Generator().manual_seed(0))
    return lambda: torch.mm(a, b, out=out), 2.0 * size**3


def shares(call: Callable[[], object]) -> dict[str, float]:
    """Of a call's time in operators, the part of each kind. The rest goes element by element and waits for memory."""
    call()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        call()
    seconds = dict.fromkeys(KINDS, 0.0) | {"the rest": 0.0}
    for event in seen.key_averages():
        kind = next((kind for kind, names in KINDS.items() if event.key.startswith(names)), "the rest")
        seconds[kind] += event.self_cpu_time_total
    return {kind: amount / sum(seconds.values()) for kind, amount in seconds.items()}
