"""Direct preference optimisation.

Letters: P pairs. h = (log pi - log ref)(chosen) - (log pi - log ref)(rejected), of SUMMED log-probabilities of the
answers with their EOS and without the prompt, at temperature 1 (correctness D1).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from llmtrain.errors import ConfigError
from llmtrain.objectives.masked import wide


@dataclass(frozen=True)
class PairLogprobs:
    """Summed log-probabilities of the two answers of each pair under one model."""

    chosen: Tensor  # [P]
    rejected: Tensor  # [P]


@dataclass(frozen=True)
class Preference:
    """Losses and implicit rewards of pairs; rewards are detached."""

    losses: Tensor  # [P]
    chosen_reward: Tensor  # [P] beta * (log pi - log ref)
    rejected_reward: Tensor  # [P]
    chosen_logp: Tensor  # [P] under the policy; that it falls is normal, but must be seen (correctness D6)

    @property
    def margin(self) -> Tensor:
        """[P] chosen minus rejected reward."""
        return self.chosen_reward - self.rejected_reward


def dpo_loss(
    policy: PairLogprobs, reference: PairLogprobs, *, loss: str = "sigmoid", beta: float, label_smoothing: float = 0.0
) -> Preference:
    """Per-pair losses and rewards. `loss` is a name in LOSSES.

    Raises ConfigError when label_smoothing would do nothing, or everything.
    """
    check_smoothing(loss, label_smoothing)
    chosen = wide(policy.chosen) - wide(reference.chosen)
    rejected = wide(policy.rejected) - wide(reference.rejected)
    losses = LOSSES[loss](chosen - rejected, beta, label_smoothing)
    return Preference(losses, beta * chosen.detach(), beta * rejected.detach(), wide(policy.chosen).detach())


def check_smoothing(loss: str, label_smoothing: float) -> None:
    """Raises ConfigError when `loss` ignores label_smoothing, or cannot be computed with it."""
    if label_smoothing and loss not in SMOOTHED:
        wanted = " or ".join(SMOOTHED)
        raise ConfigError(f"label_smoothing={label_smoothing}: loss={loss} ignores it; set it to 0, or loss={wanted}")
    if loss == "robust" and label_smoothing >= 0.5:
        raise ConfigError(f"label_smoothing={label_smoothing}: loss=robust divides by 1-2x; set it below 0.5")


def sigmoid(h: Tensor, beta: float, label_smoothing: float) -> Tensor:
    """-log sigmoid(beta h), [P] -> [P] (arXiv 2305.18290)."""
    return -F.logsigmoid(beta * h)


def conservative(h: Tensor, beta: float, label_smoothing: float) -> Tensor:
    """cDPO: a share label_smoothing of the labels is taken to be flipped, [P] -> [P]."""
    return -(1 - label_smoothing) * F.logsigmoid(beta * h) - label_smoothing * F.logsigmoid(-beta * h)


def robust(h: Tensor, beta: float, label_smoothing: float) -> Tensor:
    """Unbiased under flipped labels, [P] -> [P] (arXiv 2403.00409)."""
    kept, flipped = F.logsigmoid(beta * h), F.logsigmoid(-beta * h)
    return (label_smoothing * flipped - (1 - label_smoothing) * kept) / (1 - 2 * label_smoothing)


def ipo(h: Tensor, beta: float, label_smoothing: float) -> Tensor:
    """(h - 1/(2 beta))^2, [P] -> [P] (arXiv 2310.12036); h of per-token means gives trl's averaged variant."""
    return (h - 1 / (2 * beta)).square()


def hinge(h: Tensor, beta: float, label_smoothing: float) -> Tensor:
    """max(0, 1 - beta h), [P] -> [P] (SLiC, arXiv 2309.06657)."""
    return F.relu(1 - beta * h)


SMOOTHED = ("conservative", "robust")
LOSSES: dict[str, Callable[[Tensor, float, float], Tensor]] = {  # the names in config.schema.DPOLoss
    "sigmoid": sigmoid,
    "conservative": conservative,
    "robust": robust,
    "ipo": ipo,
    "hinge": hinge,
}
