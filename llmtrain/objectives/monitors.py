"""What a person wants to know of a rollout: numbers that nothing is learnt from."""

from torch import Tensor

from llmtrain.objectives import kl, statistics
from llmtrain.objectives.experience import Experience
from llmtrain.objectives.masked import masked_mean, masked_sum


def monitors(learnt: Experience, raw_scores: Tensor, answers: int) -> dict[str, float]:
    """By name; raw_scores [B] are the judge's own, of `answers` to each prompt side by side."""
    per_response = kl.kl_per_response(learnt.old_logp, learnt.ref_logp, learnt.mask)
    log_ratio, lengths = learnt.old_logp - learnt.ref_logp, learnt.mask.sum(-1).float()
    told = {
        "score": float(raw_scores.mean()),
        "score_sd": float(raw_scores.std(correction=0)),
        "reward": float(learnt.rewards.sum(-1).mean()),
        "kl": float(per_response.mean()),
        "kl_se": kl.standard_error(per_response.view(-1, answers).mean(-1)),
        "kl_k3": float(masked_sum(kl.k3(log_ratio), learnt.mask) / len(learnt)),
        "kl_per_token": float(masked_mean(log_ratio, learnt.mask)),
        "length": float(lengths.mean()),
        "ended": float(learnt.ended.float().mean()),
        "entropy": float(-learnt.old_logp[learnt.mask].mean()),
        "score_length_correlation": statistics.correlation(raw_scores, lengths),
    }
    if learnt.values is not None and learnt.returns is not None:
        told["explained_variance"] = statistics.explained_variance(learnt.values, learnt.returns, learnt.mask)
    return told
