"""Generalised advantage estimation: what a token brought beyond what the critic expected.

Letters: B sequences, T response slots. V[b,t] is the critic's value of the state before token t.
"""

import torch
from torch import Tensor

from llmtrain.objectives.masked import fill, wide


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
