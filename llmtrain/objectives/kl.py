"""KL estimators, the coefficient that holds the policy near its reference, and what KL costs.

Letters: B sequences, T response slots. log ratio = log pi - log ref of tokens sampled from pi; all in nats.

Which use of which estimator has which gradient: correctness C6. The default of this program is k1 in the reward;
k2 and k3 are monitors.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from llmtrain.objectives.masked import masked_sum, wide


def k1(log_ratio: Tensor) -> Tensor:
    """Unbiased, of either sign; any shape, kept."""
    return wide(log_ratio)


def k2(log_ratio: Tensor) -> Tensor:
    """Half the square: biased, low variance; any shape, kept."""
    return wide(log_ratio).square() / 2


def k3(log_ratio: Tensor) -> Tensor:
    """exp(-x) - 1 + x: unbiased, never negative; any shape, kept."""
    log_ratio = wide(log_ratio)
    return torch.expm1(-log_ratio) + log_ratio


def kl_per_response(logp: Tensor, ref_logp: Tensor, mask: Tensor) -> Tensor:
    """[B,T] each -> [B] nats per response (k1 summed over real tokens)."""
    return masked_sum(logp - ref_logp, mask, dim=-1)


def standard_error(per_response: Tensor) -> float:
    """Of the mean of [B] k1 sums."""
    return float(per_response.std(correction=0)) / math.sqrt(len(per_response))


def best_of_n_kl(n: int) -> float:
    """Nats that best-of-n moves from its reference, without ties: log n - (n-1)/n; an upper bound with them."""
    return math.log(n) - (n - 1) / n


@dataclass
class FixedKL:
    """A coefficient that stays."""

    coef: float

    def update(self, kl: float, responses: int) -> None:
        """Nothing to learn from a measured KL."""

    def state_dict(self) -> dict[str, float]:
        return {"coef": self.coef}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.coef = state["coef"]


@dataclass
class AdaptiveKL(FixedKL):
    """Steers the KL to `target` nats per response, over about `horizon` responses (arXiv 1909.08593, 2.2)."""

    target: float
    horizon: float

    def update(self, kl: float, responses: int) -> None:
        """kl: mean nats per RESPONSE of the `responses` just trained on. Once per rollout."""
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        self.coef *= 1 + error * responses / self.horizon


def controller(name: str, coef: float, target: float | None, horizon: float | None) -> FixedKL:
    """The coefficient by its name in config.schema.KLName: fixed, or adaptive with a target and a horizon."""
    assert name in CONTROLLERS, f"kl.name={name}: one of {', '.join(CONTROLLERS)}"
    if name == "fixed":
        return FixedKL(coef)
    assert target is not None and horizon is not None, "an adaptive coefficient has a target and a horizon"
    return AdaptiveKL(coef, target, horizon)


CONTROLLERS = ("fixed", "adaptive")
