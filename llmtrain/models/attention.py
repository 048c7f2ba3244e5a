"""Variable-length causal attention for packed rows, plugged into any transformers model through AttentionInterface.

Letters: N tokens in the row, S sequences, H heads, D head width.

Sequences of like length are laid out as blocks [S_b, L_b], filled up on the right, and go through the fused causal
kernel together. A causal query never sees what stands to its right: the filling changes no number, its gradient is 0.
Compared with one kernel call per sequence this is what keeps rows of many short sequences fast.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface

from llmtrain.errors import InitError

PACKED = "llmtrain_packed"
DECODING = "sdpa"
ALIKE = 0.7  # a sequence joins a block when it is at least this share of the block's longest


@dataclass(frozen=True)
class Blocks:
    """How the tokens of a packed row are laid out for the kernel."""

    take: list[Tensor]  # per block [S_b * L_b]: which token stands in each slot; filled slots repeat the first
    shapes: list[tuple[int, int]]  # per block (S_b, L_b)
    back: Tensor  # [N]: the slot of each token in all blocks' slots, one after the other
    filled: int  # slots that hold no token of their own, worked on for the block's sake


def blocks(bounds: Tensor) -> Blocks:
    """Group the sequences of a row, bounds [S+1], into blocks of like length."""
    edges = bounds.cpu().numpy()
    lengths = np.diff(edges)
    order = np.argsort(-lengths, kind="stable")
    order = order[lengths[order] > 0]
    back = np.empty(int(edges[-1]), dtype=np.int64)
    take, shapes, used, start = [], [], 0, 0
    while start < len(order):
        longest = int(lengths[order[start]])
        stop = start
        while stop < len(order) and lengths[order[stop]] >= ALIKE * longest:
            stop += 1
        rows = order[start:stop]
        slots = np.arange(longest)
        real = slots[None] < lengths[rows][:, None]
        tokens = np.where(real, edges[rows][:, None] + slots[None], edges[rows][:, None])
        back[tokens[real]] = used + np.flatnonzero(real)
        take.append(torch.from_numpy(tokens.ravel()).to(bounds.device))
        shapes.append((len(rows), longest))
        used, start = used + tokens.size, stop
    return Blocks(take, shapes, torch.from_numpy(back).to(bounds.device), used - int(lengths.sum()))


UNKNOWN = ("softcap", "s_aux", "position_bias")  # what some architectures add to plain attention


def checked(module: nn.Module, layout: Blocks | None, window: int | None, extra: dict[str, Any]) -> Blocks:
    """The layout; raises InitError where plain causal attention would not be what the architecture means."""
    name = type(module).__name__
    if layout is None:
        raise InitError(f"{name} does not hand llmtrain's arguments on to its attention; it cannot train packed rows")
    strange = [key for key in UNKNOWN if extra.get(key) is not None]
    if strange:
        raise InitError(f"{name} wants {', '.join(strange)} in its attention, which packed rows do not have")
    longest = max((length for _, length in layout.shapes), default=0)
    if window is not None and longest > window:
        raise InitError(f"{name} sees a window of {window} tokens, a row has {longest}; lower data.max_length")
    return layout


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    llmtrain_blocks: Blocks | None = None,
    sliding_window: int | None = None,
    **extra: Any,
) -> tuple[Tensor, None]:
    """query [1,H,N,D], key and value [1,H_kv,N,D] -> ([1,N,H,D], None), causal inside each sequence."""
    layout = checked(module, llmtrain_blocks, sliding_window, extra)
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))  # [N,H,D]
    grouped = query.shape[1] != key.shape[1]
    parts = []
    for take, (rows, length) in zip(layout.take, layout.shapes, strict=True):
        bq, bk, bv = (x.index_select(0, take).unflatten(0, (rows, length)).transpose(1, 2) for x in (q, k, v))
        out = F.scaled_dot_product_attention(
            bq, bk, bv, is_causal=True, scale=scaling, enable_gqa=grouped, dropout_p=dropout if module.training else 0.0
        )
        parts.append(out.transpose(1, 2).flatten(0, 1))
    return torch.cat(parts).index_select(0, layout.back)[None], None


def no_mask(*_: Any, **__: Any) -> None:
    """The blocks say who sees whom; a mask would only cost time."""


AttentionInterface.register(PACKED, attend)
AttentionMaskInterface.register(PACKED, no_mask)


@contextmanager
def decoding(model: PreTrainedModel) -> Iterator[None]:
    """Plain attention with a key-value cache inside the block, packed attention again behind it."""
    model.set_attn_implementation(DECODING)
    try:
        yield
    finally:
        model.set_attn_implementation(PACKED)
