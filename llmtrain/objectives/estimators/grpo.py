"""GRPO: an answer against the mean of its group, in standard deviations of the group.

Letters: G prompts with K answers each.
"""

from torch import Tensor

from llmtrain.objectives.estimators.group import unless_equal
from llmtrain.objectives.masked import wide


def grpo(scores: Tensor, *, eps: float = 1e-4, ddof: int) -> Tensor:
    """(score - mean) / (sd + eps) within the group: [G,K] -> [G,K] (arXiv 2402.03300; its eps is TRL's)."""
    scores = wide(scores)
    centred = scores - scores.mean(-1, keepdim=True)
    variance = centred.square().sum(-1, keepdim=True) / max(scores.shape[-1] - ddof, 1)
    return unless_equal(scores, centred / (variance.sqrt() + eps))
