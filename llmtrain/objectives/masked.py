"""Sums, means and whitening over real tokens only.

Letters: B sequences, T response slots, N real tokens. A mask is bool and True counts; None means that all is real.

Padding is removed by `where` before anything else touches it: NaN * 0 is NaN, in the value and in the gradient
(correctness rule 2).
"""

import torch
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """x in float32, or in float64 if it is that already: losses and statistics never live in half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def fill(x: Tensor, mask: Tensor | None, value: float = 0.0) -> Tensor:
    """x (at least float32) with `value` in padding; no gradient flows there."""
    x = wide(x)
    return x if mask is None else torch.where(mask, x, x.new_tensor(value))


def count(x: Tensor, mask: Tensor | None, dim: int | None = None) -> Tensor:
    """How many entries are real, over all of x or along `dim`, in x's width."""
    real = torch.ones_like(x, dtype=torch.bool) if mask is None else mask
    return real.sum(dim=dim).to(wide(x).dtype)


def masked_sum(x: Tensor, mask: Tensor | None = None, dim: int | None = None) -> Tensor:
    """Sum over real entries, of all of x or along `dim`."""
    return fill(x, mask).sum(dim=dim)


def masked_mean(x: Tensor, mask: Tensor | None = None, dim: int | None = None) -> Tensor:
    """Mean over real entries; 0 where there are none."""
    return masked_sum(x, mask, dim) / count(x, mask, dim).clamp(min=1)


def masked_var(x: Tensor, mask: Tensor | None = None, ddof: int = 0) -> Tensor:
    """Variance of all real entries, population by default (as tf.nn.moments); 0 where there are too few."""
    deviation = fill(fill(x, mask) - masked_mean(x, mask), mask)
    return deviation.square().sum() / (count(x, mask) - ddof).clamp(min=1)


def masked_whiten(
    x: Tensor, mask: Tensor | None = None, *, shift_mean: bool = True, eps: float = 1e-8, ddof: int = 0
) -> Tensor:
    """(x - mean) / sqrt(var + eps) over all real entries; shift_mean=False adds the mean back. Padding becomes 0.

    Source: openai/lm-human-preferences `whiten` (correctness C7).
    """
    mean = masked_mean(x, mask)
    white = (fill(x, mask) - mean) * torch.rsqrt(masked_var(x, mask, ddof) + eps)
    return fill(white if shift_mean else white + mean, mask)


def length_mask(lengths: Tensor, width: int | None = None) -> Tensor:
    """[B] lengths -> [B,T] mask of the first lengths[b] slots; T is the longest unless `width` says more."""
    slots = int(lengths.max()) if width is None else width
    return torch.arange(slots, device=lengths.device) < lengths[:, None]


def unflatten(flat: Tensor, mask: Tensor) -> Tensor:
    """[N] values of the real tokens, sequence after sequence -> [B,T] with 0 in padding; x[mask] is the inverse."""
    return torch.zeros(mask.shape, dtype=flat.dtype, device=flat.device).masked_scatter(mask, flat)
