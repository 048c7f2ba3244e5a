"""Log-probabilities straight from hidden states, for vocabularies whose logits are the dearest part of a step.

Letters: M tokens, d width, V vocabulary, C tokens of a chunk.

The logits of C tokens are there at a time. Where every token weighs the same (`summed_nll`) the gradients are made with
them, three products as ever; where weights come later (`linear_logprobs`) the backward makes the logits again. Both
give what token_logprobs(x w') gives, but for the rounding of products of another shape.
"""

from typing import Any

import torch
from torch import Tensor

from llmtrain.objectives.logprobs import tempered


def linear_logprobs(x: Tensor, w: Tensor, ids: Tensor, rows: int, temperature: float = 1.0) -> Tensor:
    """[M] log-probabilities of ids [M]: states x [M,d] and head w [V,d], multiplied in the format of x; C = rows."""
    return _Logprobs.apply(x, w, ids, rows, temperature)


def summed_nll(x: Tensor, w: Tensor, ids: Tensor, rows: int) -> Tensor:
    """The sum of -linear_logprobs at temperature 1. Its backward runs once, and only scales what is there."""
    if not torch.is_grad_enabled():
        return -linear_logprobs(x, w, ids, rows).sum()
    return _Summed.apply(x, w, ids, rows)


def _all_logp(x: Tensor, w: Tensor, temperature: float) -> Tensor:
    """[C,d], [V,d] -> [C,V]."""
    return tempered(x @ w.t(), temperature).log_softmax(-1)


def _own_logp(x: Tensor, w: Tensor, ids: Tensor, rows: int, temperature: float) -> Tensor:
    w, parts = w.to(x.dtype), zip(x.split(rows), ids[:, None].split(rows), strict=True)
    return torch.cat([_all_logp(states, w, temperature).gather(1, own).squeeze(1) for states, own in parts])


def _gradients(
    x: Tensor, w: Tensor, ids: Tensor, weights: Tensor, rows: int, temperature: float, learns: bool = True
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Of sum(weights [M] * logp): (by x, by w, logp [M] itself). By the logits it is weights * (onehot(id) - p).

    learns: whether w does; None for its gradient where it does not.
    """
    by_x, found, narrow = torch.empty_like(x), torch.empty_like(weights), w.to(x.dtype)
    by_w = torch.zeros_like(w) if learns else None
    for start in range(0, len(ids), rows):
        here = slice(start, start + rows)
        own, weight = ids[here, None], weights[here, None] / temperature
        logp = _all_logp(x[here], narrow, temperature)
        found[here] = logp.gather(1, own).squeeze(1)
        by_z = logp.exp_().mul_(-weight).scatter_add_(1, own, weight).to(x.dtype)
        torch.mm(by_z, narrow, out=by_x[here])
        if by_w is None:
            pass
        elif w.dtype == x.dtype:
            torch.addmm(by_w, by_z.t(), x[here], out=by_w)
        else:
            by_w += by_z.t() @ x[here]
        del logp, by_z  # or they stand beside the next chunk's
    return by_x, by_w, found


class _Logprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, ids: Tensor, rows: int, temperature: float) -> Tensor:
        ctx.save_for_backward(x, w, ids)
        ctx.settings = rows, temperature
        return _own_logp(x, w, ids, rows, temperature)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        x, w, ids = ctx.saved_tensors
        rows, temperature = ctx.settings
        by_x, by_w, _ = _gradients(x, w, ids, given[0], rows, temperature, ctx.needs_input_grad[1])
        return by_x, by_w, None, None, None


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, ids: Tensor, rows: int) -> Tensor:
        ones = tempered(x.new_ones(len(x)))
        *ctx.gradients, logp = _gradients(x, w, ids, -ones, rows, 1.0)
        return -logp.sum()

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        by_x, by_w = ctx.gradients
        return by_x.mul_(given[0]), by_w.mul_(given[0]), None, None
