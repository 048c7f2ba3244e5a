"""Language-model loss and its units.

Letters: M target tokens in any shape.
"""

import math

import torch
from torch import Tensor

from llmtrain.objectives.masked import count, masked_sum


def nll(logp: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Log-probabilities [M] of targets -> (sum of -logp, number of targets), in nats and tokens.

    No target at all gives (0, 0) with gradient 0. Division happens once, over the whole window (correctness A2).
    """
    return -masked_sum(logp, mask), count(logp, mask)


def byte_sums(nll: Tensor, n_bytes: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Nats [M] and UTF-8 bytes [M] of each target -> (nats, bytes), both without the targets of 0 bytes.

    Special tokens have no bytes; they stand in neither sum (correctness A8).
    """
    textual = n_bytes > 0
    kept = textual if mask is None else textual & mask
    return masked_sum(nll, kept), torch.where(kept, n_bytes, 0).sum()


def perplexity(nats: float, tokens: float) -> float:
    """exp(nats per token) of sums over a whole set; inf beyond what a float holds, nan without tokens."""
    if not tokens:
        return math.nan
    mean = nats / tokens
    return math.exp(mean) if mean < 709 else math.inf


def bits_per_byte(nats: float, n_bytes: float) -> float:
    """Bits per byte of sums over a whole set; nan without bytes."""
    return nats / (math.log(2) * n_bytes) if n_bytes else math.nan
