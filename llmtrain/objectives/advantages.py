"""Advantage estimators.

Letters: B sequences, T response slots, G prompts with K answers each. V[b,t] is the critic's value of the state before
token t. Padding may hold anything, on either side; results are 0 there.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from llmtrain.objectives.masked import fill, masked_whiten, wide


def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, lam: float, bootstrap: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Generalised advantages: rewards, values, mask [B,T] -> (advantages, returns) [B,T], both before whitening.

    After the last real token the value is 0, or bootstrap[b] for a row that was only cut off. returns = A + V.
    Source: arXiv 1506.02438 equation 16.
    """
    rewards, values = fill(rewards, mask), fill(values, mask)
    ahead = torch.zeros_like(rewards[:, 0]) if bootstrap is None else wide(bootstrap)
    running = torch.zeros_like(ahead)
    advantages = torch.zeros_like(rewards)
    for t in range(rewards.shape[1] - 1, -1, -1):
        real = mask[:, t]
        delta = rewards[:, t] + gamma * ahead - values[:, t]
        running = torch.where(real, delta + gamma * lam * running, running)
        ahead = torch.where(real, values[:, t], ahead)
        advantages[:, t] = running
    advantages = fill(advantages, mask)
    return advantages, advantages + values


def reinforce_pp(rewards: Tensor, mask: Tensor, *, gamma: float = 1.0) -> tuple[Tensor, Tensor]:
    """REINFORCE++: rewards, mask [B,T] -> (whitened rewards-to-go, rewards-to-go) [B,T]; no critic.

    The KL belongs into the rewards. Source: arXiv 2501.03262.
    """
    returns, _ = gae(rewards, torch.zeros_like(wide(rewards)), mask, gamma=gamma, lam=1.0)
    return masked_whiten(returns, mask), returns


def dr_grpo(scores: Tensor) -> Tensor:
    """score - mean of the group: [G,K] -> [G,K] (arXiv 2503.20783)."""
    scores = wide(scores)
    return _unless_equal(scores, scores - scores.mean(-1, keepdim=True))


def grpo(scores: Tensor, *, eps: float = 1e-4, ddof: int = 1) -> Tensor:
    """(score - mean) / (sd + eps) within the group: [G,K] -> [G,K] (arXiv 2402.03300)."""
    scores = wide(scores)
    centred = scores - scores.mean(-1, keepdim=True)
    variance = centred.square().sum(-1, keepdim=True) / max(scores.shape[-1] - ddof, 1)
    return _unless_equal(scores, centred / (variance.sqrt() + eps))


def rloo(scores: Tensor) -> Tensor:
    """score - mean of the K-1 others: [G,K] -> [G,K] (arXiv 2402.14740). The KL belongs into the scores."""
    scores = wide(scores)
    k = scores.shape[-1]
    return _unless_equal(scores, (k * scores - scores.sum(-1, keepdim=True)) / max(k - 1, 1))


def _unless_equal(scores: Tensor, advantages: Tensor) -> Tensor:
    """Exactly 0 for a group of equal scores, whose rounding a small sd would blow up (correctness C12)."""
    return torch.where(scores.amax(-1, keepdim=True) == scores.amin(-1, keepdim=True), 0.0, advantages)


ADVANTAGES: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {"gae": gae}  # the names in config.schema.AdvantageName
