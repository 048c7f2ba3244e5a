"""Log-probabilities of tokens, and where a response ends.

Letters: B sequences, T token slots, V vocabulary, M tokens in any shape, S sequences of a packed row.

One temperature holds for every log-probability of a run (correctness C2), and all arithmetic is at least float32.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from llmtrain.objectives.masked import wide


def tempered(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """[..., V] logits / temperature, at least float32."""
    assert temperature > 0, f"temperature={temperature}: a log-probability needs more than 0"
    return wide(logits) if temperature == 1.0 else wide(logits) / temperature


def token_logprobs(logits: Tensor, ids: Tensor, temperature: float = 1.0) -> Tensor:
    """log softmax(logits / temperature)[ids]: logits [..., V], ids [...] -> [...].

    logits[m] are those that predict ids[m]: the caller has shifted them already.
    """
    z = tempered(logits, temperature)
    return -F.cross_entropy(z.reshape(-1, z.shape[-1]), ids.reshape(-1), reduction="none").view(ids.shape)


def entropy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Entropy of softmax(logits / temperature) in nats: [..., V] -> [...]."""
    logp = tempered(logits, temperature).log_softmax(-1)
    return -(logp.exp() * logp).sum(-1)


def nucleus_logprobs(logits: Tensor, temperature: float, top_p: float) -> Tensor:
    """Log-probabilities of a sampler that keeps the smallest set with mass >= top_p, [..., V] -> [..., V]; else -inf.

    What top-p really samples from; scoring with the full softmax instead looks like a KL (correctness C2).
    """
    logp = tempered(logits, temperature).log_softmax(-1)
    best, order = logp.exp().sort(dim=-1, descending=True, stable=True)
    kept = best.cumsum(-1) - best < top_p
    kept = torch.zeros_like(kept).scatter(-1, order, kept)
    return logp.masked_fill(~kept, float("-inf")).log_softmax(-1)


def response_mask(ids: Tensor, eos: int) -> tuple[Tensor, Tensor]:
    """Sampled ids [B,T] -> (mask [B,T] up to and with the first EOS, ended [B]).

    Right even when padding is the EOS itself; a response without EOS is real throughout (correctness C5).
    """
    is_eos = ids == eos
    before = is_eos.cumsum(-1) - is_eos.long()
    return before == 0, is_eos.any(-1)


def position_ids(mask: Tensor) -> Tensor:
    """[B,T] attention mask with padding on any side -> [B,T] positions that start at 0 with the first real token."""
    return (mask.long().cumsum(-1) - 1).clamp(min=0)


def sequence_sums(values: Tensor, sequence: Tensor, sequences: int) -> Tensor:
    """[M] values of tokens that belong to sequence[m] -> [S] sums, S = sequences; 0 for one without tokens."""
    return wide(values).new_zeros(sequences).index_add(0, sequence, wide(values))
