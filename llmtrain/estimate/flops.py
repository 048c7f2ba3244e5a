"""Floating-point operations, a multiplication and an addition counted as two; and what decoding moves through memory.

Counted is what matrices and attention take (as torch's FlopCounterMode does, whose formulas these are: attention over
whole squares, its backward with the scores computed again). The rest is below a hundredth but in the smallest models.
"""

from dataclasses import dataclass

from llmtrain.estimate.memory import cache, in_chunks
from llmtrain.estimate.shape import Decoding, Load, Shape

ATTENTION = 4  # of a forward: q k^T and p v, two operations each, per pair of tokens and unit of width
ATTENTION_BACK = 10  # five products instead of two


@dataclass(frozen=True)
class Work:
    """Operations of whole batches, and those of one-token steps with the bytes that these must read."""

    dense: int = 0
    steps: int = 0
    moved: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.dense + other.dense, self.steps + other.steps, self.moved + other.moved)

    def __mul__(self, times: int) -> "Work":
        return Work(self.dense * times, self.steps * times, self.moved * times)

    @property
    def flops(self) -> int:
        return self.dense + self.steps

    def seconds(self, flops: float, bandwidth: float) -> float:
        """The least time at so many operations and bytes a second: decoding waits for the slower of the two."""
        return self.dense / flops + max(self.steps / flops, self.moved / bandwidth)


def forward(shape: Shape, load: Load) -> Work:
    linear = 2 * ((shape.matrices + shape.extra) * load.tokens + shape.head * load.targets)
    return Work(dense=linear + ATTENTION * _attention_width(shape) * load.squares)


def training(shape: Shape, load: Load) -> Work:
    """Forward and backward: every matrix three times, once for the output and once for each of two gradients.

    A head in chunks (objectives/linear.py) makes its output twice, unless the loss is the sum over the targets. Under
    adapters the model's own matrices have no gradient of theirs.
    """
    each = 4 if shape.adapters else 6
    head = each + (2 if in_chunks(shape, load) and not load.summed else 0)
    linear = (each * shape.matrices + 6 * shape.extra) * load.tokens + head * shape.head * load.targets
    return Work(dense=linear + (ATTENTION + ATTENTION_BACK) * _attention_width(shape) * load.squares)


def decoding(shape: Shape, asked: Decoding, weight_bytes: int, cache_bytes: int) -> Work:
    """Prompts at once, then a step per token that reads all weights and each row's cache, half full on average."""
    prompts = forward(shape, Load(asked.answers * asked.prompt, asked.answers * asked.prompt**2, asked.answers))
    steps = asked.new - 1  # the first token comes with the prompt
    seen = steps * asked.prompt + steps * (steps + 1) // 2
    weights = shape.matrices + shape.extra + shape.head
    one = 2 * weights * steps + ATTENTION * _attention_width(shape) * seen
    batches = -(-asked.answers // asked.rows)
    read = cache(shape, asked, cache_bytes) * (asked.prompt + asked.new // 2) // (asked.prompt + asked.new)
    return prompts + Work(
        steps=one * asked.answers,
        moved=batches * steps * (weights * weight_bytes + read),
    )


def _attention_width(shape: Shape) -> int:
    return shape.layers * shape.heads * shape.head_width
