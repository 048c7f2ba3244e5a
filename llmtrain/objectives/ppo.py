"""Losses of proximal policy optimisation.

Letters: B sequences, T response slots, M tokens. Tensors are [B,T] with a mask, or flat [M] without one.
rho = exp(new - old) is the ratio, A the advantage, R the return, v the value.

Per-token losses come back with 0 in padding; `aggregate` makes the sum and the count that the loop divides.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from llmtrain.objectives.kl import k1, k2, k3
from llmtrain.objectives.masked import count, fill, masked_mean, masked_sum, wide


@dataclass(frozen=True)
class PolicyLoss:
    """Per-token policy loss, and what happened to each token (detached)."""

    losses: Tensor  # [B,T] or [M]
    log_ratio: Tensor  # new - old
    clipped: Tensor  # bool, the clipped branch was the larger
    clipped_lower: Tensor  # bool, the dual clip was active
    mask: Tensor | None

    def monitors(self) -> dict[str, Tensor]:
        """Sums over real tokens; divide by their count. KL is of the old policy to the new one, nats per token."""
        old_minus_new = -self.log_ratio
        tokens = {
            "ratio": fill(self.log_ratio.exp(), self.mask),
            "clipfrac": self.clipped,
            "clipfrac_lower": self.clipped_lower,
            "kl_k1": k1(old_minus_new),
            "kl_k2": k2(old_minus_new),
            "kl_k3": k3(old_minus_new),
        }
        return {name: masked_sum(values, self.mask) for name, values in tokens.items()}

    def ratio_max(self) -> Tensor:
        """The largest ratio; 0 without a token."""
        return torch.cat([fill(self.log_ratio.exp(), self.mask).flatten(), self.log_ratio.new_zeros(1)]).max()


def policy_loss(
    new_logp: Tensor,
    old_logp: Tensor,
    advantages: Tensor,
    mask: Tensor | None = None,
    *,
    clip_low: float,
    clip_high: float | None = None,
    dual_clip: float | None = None,
) -> PolicyLoss:
    """max(-A rho, -A clip(rho, 1 - clip_low, 1 + clip_high)) per token; clip_high None means clip_low.

    dual_clip c > 1 bounds the loss of A < 0 by -c A (arXiv 1912.09729). Source: arXiv 1707.06347 equation 7.
    """
    log_ratio = fill(new_logp, mask) - fill(old_logp, mask)
    advantages = fill(advantages, mask)
    ratio = log_ratio.exp()
    free = -advantages * ratio
    held = -advantages * ratio.clamp(1 - clip_low, 1 + (clip_low if clip_high is None else clip_high))
    losses = torch.maximum(free, held)
    lower = torch.zeros_like(losses, dtype=torch.bool)
    if dual_clip is not None:
        bound = -dual_clip * advantages
        lower = (advantages < 0) & (losses > bound)
        losses = torch.where(lower, bound, losses)
    return PolicyLoss(losses, log_ratio.detach(), (held > free).detach(), lower, mask)


@dataclass(frozen=True)
class ValueLoss:
    """Per-token value loss."""

    losses: Tensor  # [B,T] or [M]
    clipped: Tensor  # bool, the clipped branch was the larger


def value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor | None = None, *, clip: float | None
) -> ValueLoss:
    """0.5 max((v - R)^2, (v held within clip of its old value - R)^2) per token; clip None gives the plain square.

    Source: openai/lm-human-preferences train_policy.py (correctness C8).
    """
    values, old, returns = fill(values, mask), fill(old_values, mask), fill(returns, mask)
    free = (values - returns).square()
    if clip is None:
        return ValueLoss(free / 2, torch.zeros_like(free, dtype=torch.bool))
    held = (old + (values - old).clamp(-clip, clip) - returns).square()
    return ValueLoss(torch.maximum(free, held) / 2, (held > free).detach())


AGGREGATIONS = ("token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm")


def aggregate(
    losses: Tensor, mask: Tensor, mode: str = "token-mean", max_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """[B,T] -> (sum, count) whose quotient over a window is the mode's mean: over tokens, or over sequences.

    "...-norm" divides each sequence's sum by max_length (Dr.GRPO). Empty sequences are not counted.
    """
    assert mode in AGGREGATIONS, f"aggregation {mode}: one of {', '.join(AGGREGATIONS)}"
    if mode == "token-mean":
        return masked_sum(losses, mask), count(losses, mask)
    per_row = (masked_mean if mode == "seq-mean-token-mean" else masked_sum)(losses, mask, dim=-1)
    if mode == "seq-mean-token-sum-norm":
        assert max_length is not None, "seq-mean-token-sum-norm needs max_length"
        per_row = per_row / max_length
    return per_row.sum(), mask.any(-1).sum().to(per_row.dtype)


def sequence_ratio(new_logp: Tensor, old_logp: Tensor, mask: Tensor, *, mean: bool = False) -> Tensor:
    """Ratio of whole responses, [B,T] -> [B]: exp of the summed log ratio, or of its mean (GSPO, arXiv 2507.18071)."""
    log_ratio = fill(new_logp, mask) - fill(old_logp, mask)
    return (masked_mean if mean else masked_sum)(log_ratio, mask, dim=-1).exp()


def truncated_weights(old_logp: Tensor, sampler_logp: Tensor, mask: Tensor | None = None, *, cap: float) -> Tensor:
    """min(exp(old - sampler), cap), detached, 0 in padding: corrects a sampler that is not the trainer (C9)."""
    log_weight = wide(fill(old_logp, mask) - fill(sampler_logp, mask)).detach()
    return fill(log_weight.exp().clamp(max=cap), mask)
