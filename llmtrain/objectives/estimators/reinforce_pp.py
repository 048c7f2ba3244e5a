"""REINFORCE++: rewards-to-go, whitened over the batch; no critic and no groups.

Letters: B sequences, T response slots.
"""

import torch
from torch import Tensor

from llmtrain.objectives.estimators.gae import gae
from llmtrain.objectives.masked import masked_whiten, wide


def reinforce_pp(rewards: Tensor, mask: Tensor, *, gamma: float) -> tuple[Tensor, Tensor]:
    """REINFORCE++: rewards, mask [B,T] -> (whitened rewards-to-go, rewards-to-go) [B,T].

    The KL belongs into the rewards. Source: arXiv 2501.03262.
    """
    returns, _ = gae(rewards, torch.zeros_like(wide(rewards)), mask, gamma=gamma, lam=1.0)
    return masked_whiten(returns, mask), returns
