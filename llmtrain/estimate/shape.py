"""What of a model decides its cost, and how much of what a step reads. Plain numbers, no torch.

Letters: L layers, d width, H heads, H_kv key-value heads, D head width, f feed-forward width, V vocabulary.
"""

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Shape:
    """The dimensions of a decoder.

    gated: blocks of Llama's kind (RMSNorm, gated feed-forward) in place of GPT-2's (LayerNorm, tanh-GELU).
    scalar: one number at each token in place of the language-model head.
    """

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    ffn_width: int
    vocab: int
    gated: bool
    scalar: bool
    dropout: float
    matrices: int  # weights of the blocks that multiply every token
    tensors: dict[str, tuple[int, ...]]  # stored name -> shape; tied ones once
    adapters: dict[str, tuple[int, ...]] = field(default_factory=dict)  # the same of those that learn in their place

    @property
    def parameters(self) -> int:
        return sum(map(math.prod, (self.tensors | self.adapters).values()))

    @property
    def learning(self) -> dict[str, tuple[int, ...]]:
        """What learns where the model is trained."""
        return self.adapters or self.tensors

    @property
    def extra(self) -> int:
        """Weights of the adapters, each of which multiplies every token."""
        return sum(map(math.prod, self.adapters.values()))

    @property
    def ranks(self) -> int:
        """Numbers a token between the two matrices of all adapters."""
        return sum(size[0] for name, size in self.adapters.items() if name.endswith(".a"))

    @property
    def head(self) -> int:
        """Weights that multiply each token of the loss."""
        return self.width * (1 if self.scalar else self.vocab)


def head(width: int) -> Shape:
    """A number a token on the trunk of another model (models/scalar.py's Head)."""
    tensors: dict[str, tuple[int, ...]] = {"weight": (width,), "bias": ()}
    return Shape(0, width, 0, 0, 0, 0, 0, gated=False, scalar=True, dropout=0.0, matrices=0, tensors=tensors)


@dataclass(frozen=True)
class Load:
    """Tokens that go through a model.

    squares: sum over sequences of length squared, what attention pays for. targets: tokens that the head is asked for;
    summed: all of them weigh the same in a loss. repeated: tokens of shared prompts that attention lays out again.
    """

    tokens: int
    squares: int
    targets: int
    summed: bool = False
    repeated: int = 0

    @property
    def slots(self) -> int:
        """Tokens as attention has them, in which each sequence holds its prompt."""
        return self.tokens + self.repeated

    def __mul__(self, times: int) -> "Load":
        repeated = self.repeated * times
        return Load(self.tokens * times, self.squares * times, self.targets * times, self.summed, repeated)


def sequences(
    count: int, length: int, targets: int, *, summed: bool = False, together: int = 1, shared: int = 0
) -> Load:
    """`count` sequences of `length` tokens, of each of which `targets` are predicted.

    Each `together` of them share their first `shared` tokens, which stand in the row once (data/pack.py).
    """
    repeated = (count - -(-count // together)) * shared
    return Load(count * length - repeated, count * length * length, count * targets, summed, repeated)


def fitting(budget: int, length: int, *, together: int = 1, shared: int = 0) -> int:
    """How many of such sequences have at most `budget` tokens, from the first of a prompt on; at least one."""
    own = length - shared
    full, rest = divmod(budget, shared + together * own)
    return max(1, full * together + max(0, rest - shared) // own)


@dataclass(frozen=True)
class Decoding:
    """Answers that are sampled: in all, and rows at once; prompt and new tokens of each, at most."""

    answers: int
    rows: int
    prompt: int
    new: int
