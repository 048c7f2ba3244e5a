"""Named records of a PPO batch, and how one becomes the other.

Letters: B sequences, T response slots of the longest response. Tensors [B,T] are right-padded; mask True = real token,
the EOS included. Prompts and responses stay ragged lists: the ids that were sampled are the ids that are scored and
trained, nothing is decoded in between (correctness C3).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor

from llmtrain.objectives.advantages import ADVANTAGES
from llmtrain.objectives.masked import length_mask
from llmtrain.objectives.rewards import shaped_rewards


@dataclass(frozen=True)
class Rollout:
    """B judged responses, with what the frozen policy, reference and critic said of every token."""

    prompts: list[list[int]]  # B ragged
    responses: list[list[int]]  # B ragged, each with its EOS if it ended
    ended: Tensor  # [B] bool
    mask: Tensor  # [B,T] bool
    old_logp: Tensor  # [B,T] log-probabilities of the policy that sampled, recomputed by the training forward
    ref_logp: Tensor  # [B,T]
    values: Tensor | None  # [B,T] critic before each token, where there is one
    scores: Tensor  # [B] after scale, clip and the missing-EOS rule

    def __len__(self) -> int:
        return len(self.responses)

    @property
    def tokens(self) -> int:
        """Real response tokens."""
        return sum(len(response) for response in self.responses)

    def rows(self, index: Sequence[int]) -> Self:
        """The sequences of these indices, in this order, no wider than their longest response."""
        at = torch.as_tensor(index, dtype=torch.int64, device=self.mask.device)
        width = max((len(self.responses[i]) for i in index), default=0)
        return type(self)(**{f.name: _take(getattr(self, f.name), index, at, width) for f in fields(self)})


@dataclass(frozen=True)
class Experience(Rollout):
    """A rollout with what PPO learns from."""

    rewards: Tensor  # [B,T] KL penalty on every token, score on the last
    advantages: Tensor  # [B,T]
    returns: Tensor | None  # [B,T] targets of the critic, where there is one, from unwhitened advantages


def response_slots(responses: Sequence[Sequence[int]]) -> Tensor:
    """Ragged responses -> [B,T] mask, from their lengths."""
    return length_mask(torch.tensor([len(r) for r in responses], dtype=torch.int64))


def learn_from(rollout: Rollout, estimator: str, *, kl_coef: float, answers: int = 1, **settings: float) -> Experience:
    """Rewards, then advantages by the estimator of that name; settings are its own (objectives/advantages.py).

    answers: how many of each prompt stand side by side.
    """
    r = rollout
    rewards = shaped_rewards(r.scores, r.old_logp, r.ref_logp, r.mask, kl_coef)
    advantages, returns = ADVANTAGES[estimator](rewards, r.values, r.mask, answers, **settings)
    parts = {f.name: getattr(r, f.name) for f in fields(Rollout)}
    return Experience(**parts, rewards=rewards, advantages=advantages, returns=returns)


def _take(part: Any, index: Sequence[int], at: Tensor, width: int) -> Any:
    if isinstance(part, Tensor):
        return part[at] if part.dim() == 1 else part[at, :width]
    return None if part is None else [part[i] for i in index]
