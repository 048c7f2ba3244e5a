"""Variable-length causal attention for packed rows, plugged into any transformers model through AttentionInterface.

Letters: N tokens in the row, S sequences, H heads, D head width.

Sequences of like length are laid out as blocks [S_b, L_b], filled up on the right, and go through the fused causal
kernel together. A causal query never sees what stands to its right: the filling changes no number, its gradient is 0.
Compared with one kernel call per sequence this is what keeps rows of many short sequences fast.

A prompt that several sequences share is laid out in each of them, but only here: everything else of a model runs over
the row, where the prompt stands once. Its gradient is the sum over the sequences that took it.
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

    take: Tensor  # [slots of all blocks, one after the other]: the token in each; filled slots repeat the first own
    shapes: list[tuple[int, int]]  # per block (S_b, L_b), which are S_b * L_b slots
    back: Tensor  # [N]: the slot of each token in the sequence that owns it
    filled: int  # slots that hold no token of a sequence, worked on for the block's sake
    as_is: bool  # one block of sequences of one length, in the row's own order: nothing to lay out


def blocks(bounds: Tensor, shared: Tensor | None = None) -> Blocks:
    """Group the sequences of a row into blocks of like length; bounds [S+1] and shared [S,2] as Packed has them."""
    edges = bounds.cpu().numpy()
    owned = np.diff(edges)
    prefix, end = np.zeros((2, len(owned)), dtype=np.int64) if shared is None else shared.cpu().numpy().T
    held = end - prefix
    lengths = held + owned
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
        place = slots - held[rows][:, None]  # among the sequence's own tokens
        own = (place >= 0) & (place < owned[rows][:, None])
        tokens = edges[rows][:, None] + np.where(own, place, 0)
        back[tokens[own]] = used + np.flatnonzero(own)
        take.append(np.where(place < 0, prefix[rows][:, None] + slots, tokens).ravel())
        shapes.append((len(rows), longest))
        used, start = used + tokens.size, stop
    laid, found = (torch.from_numpy(x).to(bounds.device) for x in (np.concatenate(take), back))
    as_is = len(shapes) == 1 and not held.any() and used == len(back)
    return Blocks(laid, shapes, found, used - int(lengths.sum()), as_is)


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
    sizes = [rows * length for rows, length in layout.shapes]
    rows_first = (x[0].transpose(0, 1) for x in (query, key, value))
    laid = ((x if layout.as_is else x.index_select(0, layout.take)).split(sizes) for x in rows_first)
    grouped = query.shape[1] != key.shape[1]
    parts = []
    for (rows, length), *block in zip(layout.shapes, *laid, strict=True):
        bq, bk, bv = (x.unflatten(0, (rows, length)).transpose(1, 2) for x in block)
        out = F.scaled_dot_product_attention(
            bq, bk, bv, is_causal=True, scale=scaling, enable_gqa=grouped, dropout_p=dropout if module.training else 0.0
        )
        parts.append(out.transpose(1, 2).flatten(0, 1))
    return (parts[0] if layout.as_is else torch.cat(parts).index_select(0, layout.back))[None], None


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
