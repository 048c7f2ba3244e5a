"""RLOO, REINFORCE leave-one-out: an answer against the mean of the other answers to its prompt.

Letters: G prompts with K answers each.
"""

from torch import Tensor

from llmtrain.objectives.estimators.group import unless_equal
from llmtrain.objectives.masked import wide


def rloo(scores: Tensor) -> Tensor:
    """score - mean of the K-1 others: [G,K] -> [G,K] (arXiv 2402.14740). The KL belongs into the scores."""
    scores = wide(scores)
    k = scores.shape[-1]
    return unless_equal(scores, (k * scores - scores.sum(-1, keepdim=True)) / max(k - 1, 1))
