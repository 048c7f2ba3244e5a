"""From the judge's score of a response to a reward per token.

Letters: B sequences, T response slots.
"""

import torch
from torch import Tensor

from llmtrain.objectives.masked import fill, wide

MISSING_EOS = ("replace", "subtract")  # the names in config.schema.MissingEos


def final_scores(
    scores: Tensor,
    ended: Tensor,
    *,
    scale: float = 1.0,
    clip: float | None = None,
    missing_eos: str = "replace",
    missing_eos_score: float = -1.0,
) -> Tensor:
    """Judged scores [B] (gain and bias applied), ended [B] bool -> [B]: scale, clip to [-clip, clip], missing EOS.

    A response without EOS gets missing_eos_score instead ("replace"), or has its size taken off ("subtract"); that
    comes last, so neither scale nor clip softens it (correctness C5).
    """
    assert missing_eos in MISSING_EOS, f"missing_eos={missing_eos}: one of {', '.join(MISSING_EOS)}"
    scores = wide(scores) * scale
    if clip is not None:
        scores = scores.clamp(-clip, clip)
    if missing_eos == "subtract":
        return torch.where(ended, scores, scores - abs(missing_eos_score))
    return torch.where(ended, scores, scores.new_tensor(missing_eos_score))


def last_token(mask: Tensor) -> Tensor:
    """[B,T] mask -> [B,T], True on the last real token of each row alone (nowhere in an empty row)."""
    return mask & (mask.long().cumsum(-1) == mask.sum(-1, keepdim=True))


def shaped_rewards(scores: Tensor, logp: Tensor, ref_logp: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """-kl_coef * (logp - ref_logp) on every token, plus the score on the last: [B], [B,T] x3 -> [B,T], padding 0.

    The score sits on the EOS whatever the width of the batch (correctness C6).
    """
    penalty = -kl_coef * fill(logp - ref_logp, mask)
    return penalty + torch.where(last_token(mask), wide(scores)[:, None], 0.0)
