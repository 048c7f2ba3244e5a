"""Dr. GRPO: an answer against the mean of its group.

Letters: G prompts with K answers each.
"""

from torch import Tensor

from llmtrain.objectives.estimators.group import unless_equal
from llmtrain.objectives.masked import wide


def dr_grpo(scores: Tensor) -> Tensor:
    """score - mean of the group: [G,K] -> [G,K] (arXiv 2503.20783)."""
    scores = wide(scores)
    return unless_equal(scores, scores - scores.mean(-1, keepdim=True))
