"""What the estimators share that compare the K answers of a prompt.

Letters: G prompts with K answers each.
"""

import torch
from torch import Tensor


def unless_equal(scores: Tensor, advantages: Tensor) -> Tensor:
    """Exactly 0 for a group of equal scores, whose rounding a small sd would blow up (correctness C12)."""
    return torch.where(scores.amax(-1, keepdim=True) == scores.amin(-1, keepdim=True), 0.0, advantages)
