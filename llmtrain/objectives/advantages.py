"""Advantage estimators, by name. Each takes the rewards of a rollout, the cost of KL in them (correctness C6, C12).

Letters: B sequences, T response slots, G prompts with K answers each, B = G K. Padding may hold anything, on either
side; results are 0 there.
"""

from collections.abc import Callable

from torch import Tensor

from llmtrain.objectives.estimators.dr_grpo import dr_grpo
from llmtrain.objectives.estimators.gae import gae
from llmtrain.objectives.estimators.grpo import grpo
from llmtrain.objectives.estimators.reinforce_pp import reinforce_pp
from llmtrain.objectives.estimators.rloo import rloo
from llmtrain.objectives.masked import fill, masked_sum, masked_whiten

# (rewards [B,T], values [B,T] or None, mask [B,T], K, own settings) -> (advantages [B,T], the critic's targets or None)
Estimator = Callable[..., tuple[Tensor, Tensor | None]]


def with_critic(
    rewards: Tensor, values: Tensor, mask: Tensor, answers: int, *, gamma: float, lam: float, whiten: bool
) -> tuple[Tensor, Tensor]:
    """GAE. The critic's targets come from advantages that are not whitened yet (correctness C7)."""
    advantages, returns = gae(rewards, values, mask, gamma=gamma, lam=lam)
    return masked_whiten(advantages, mask) if whiten else advantages, returns


def rewards_to_go(
    rewards: Tensor, values: None, mask: Tensor, answers: int, *, gamma: float
) -> tuple[Tensor, Tensor | None]:
    """REINFORCE++."""
    return reinforce_pp(rewards, mask, gamma=gamma)[0], None


def by_group(estimator: Callable[..., Tensor]) -> Estimator:
    """An estimator [G,K] -> [G,K] of whole answers: the same advantage on every token of an answer.

    What it compares are the sums of the rewards, score and KL of the answer: so the KL is in before the baseline. The
    K answers of a prompt stand side by side.
    """

    def estimate(
        rewards: Tensor, values: None, mask: Tensor, answers: int, **settings: float
    ) -> tuple[Tensor, Tensor | None]:
        each = estimator(masked_sum(rewards, mask, dim=-1).view(-1, answers), **settings)
        return fill(each.view(-1, 1).expand(mask.shape), mask), None

    return estimate


ADVANTAGES: dict[str, Estimator] = {  # the names in config.choices.AdvantageName
    "gae": with_critic,
    "reinforce_pp": rewards_to_go,
    "grpo": by_group(grpo),
    "dr_grpo": by_group(dr_grpo),
    "rloo": by_group(rloo),
}
