"""A key-value cache of slots, plugged into any transformers model through AttentionInterface.

Letters: M slots, L tokens of room in each, n slots in use, N tokens of packed prompts, H heads, D head width.

Slot s holds its row from the left: the token at position p lies at s * L + p. Prompts are written packed, without
padding; a decoding step writes one token into each of the first n slots and copies nothing. The rooms are taken when a
layer first asks, so no architecture has to be known here, and the model makes neither a mask nor a cache of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface

from llmtrain.data.pack import Packed
from llmtrain.errors import InitError
from llmtrain.models import attention
from llmtrain.models.attention import Blocks, blocks

CACHED = "llmtrain_cached"


class Cache:
    """What the attention layers of one model keep of M rows, and which tokens the forward at hand is about."""

    def __init__(self, slots: int, room: int, device: torch.device):
        self.slots, self.room = slots, room
        self.kept: dict[nn.Module, tuple[Tensor, Tensor]] = {}  # by layer: keys and values [M,L,H,D]
        self.bias = torch.full((slots, room), -torch.inf, device=device)  # 0 for a token that the slot's row has
        self.start = torch.arange(slots, device=device) * room
        self.places = self.start  # [N] or [n], places in the flattened [M*L]: where this forward's tokens go
        self.layout: Blocks | None = None  # of packed prompts; None in a decoding step
        self.seen = self.bias  # [n,T]: what is added to the attention of a decoding step, over the used part
        self.positions = self.start  # [n], of a decoding step

    @property
    def bytes(self) -> int:
        """Of the keys and values of all layers that have asked for room."""
        return sum(room.numel() * room.element_size() for rooms in self.kept.values() for room in rooms)

    def prompts(self, packed: Packed, first: int) -> None:
        """The next forward is about these prompts, for the slots from `first` on."""
        lengths = packed.bounds.diff()
        slots = torch.repeat_interleave(self.start[first : first + len(lengths)], lengths, output_size=len(packed.ids))
        self.places, self.layout = slots + packed.positions, blocks(packed.bounds)
        self.bias[first : first + len(lengths)] = -torch.inf
        self.bias.view(-1)[self.places] = 0.0

    def step(self, positions: Tensor, used: int) -> None:
        """The next forward is about one token in each of the first n slots, at positions [n] below `used`."""
        n = len(positions)
        self.places, self.layout, self.positions = self.start[:n] + positions, None, positions
        self.bias.view(-1).index_fill_(0, self.places, 0.0)
        self.seen = self.bias[:n, :used]

    def move(self, target: Tensor, source: Tensor, used: int) -> None:
        """The rows in slots `source`, of at most `used` tokens, go to slots `target`."""
        for tensor in (self.bias, *(room for rooms in self.kept.values() for room in rooms)):
            tensor[target, :used] = tensor[source, :used]

    def write(self, layer: nn.Module, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keep [B,H,T,D] of this forward's B * T tokens; returns all of the layer, [M,L,H,D]."""
        if layer not in self.kept:
            self.kept[layer] = (self._room(key), self._room(value))
        for room, new in zip(self.kept[layer], (key, value), strict=True):
            tokens = new.transpose(1, 2).flatten(0, 1)
            room.view(-1, *room.shape[2:]).index_copy_(0, self.places, tokens.to(room.dtype))
        return self.kept[layer]

    def window(self, window: int | None) -> Tensor:
        """[n,1,1,T] of a decoding step, for a layer that sees the last `window` tokens alone."""
        seen = self.seen
        if window is not None and seen.shape[1] > window:
            columns = torch.arange(seen.shape[1], device=seen.device)
            seen = seen.masked_fill(columns[None] <= self.positions[:, None] - window, -torch.inf)
        return seen[:, None, None]

    def _room(self, like: Tensor) -> Tensor:
        """Zeros: what is not written yet has weight 0 in the sums of others, and 0 times anything finite is 0."""
        kind = like.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else like.dtype
        return torch.zeros(self.slots, self.room, like.shape[1], like.shape[3], dtype=dtype, device=like.device)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    llmtrain_cache: Cache | None = None,
    **extra: Any,
) -> tuple[Tensor, None]:
    """query [B,H,T,D] -> ([B,T,H,D], None): packed prompts among themselves, or one token per slot over its row."""
    if llmtrain_cache is None:
        raise InitError(f"{type(module).__name__} does not hand llmtrain's arguments on to its attention")
    keys, values = llmtrain_cache.write(module, key, value)
    if llmtrain_cache.layout is not None:
        how: dict[str, Any] = dict(scaling=scaling, sliding_window=sliding_window)
        return attention.attend(module, query, key, value, None, llmtrain_blocks=llmtrain_cache.layout, **how, **extra)
    n, used = llmtrain_cache.seen.shape
    out = F.scaled_dot_product_attention(
        query,
        keys[:n, :used].transpose(1, 2),
        values[:n, :used].transpose(1, 2),
        attn_mask=llmtrain_cache.window(sliding_window),
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return out.transpose(1, 2), None


AttentionInterface.register(CACHED, attend)
AttentionMaskInterface.register(CACHED, attention.no_mask)


@contextmanager
def caching(model: PreTrainedModel) -> Iterator[None]:
    """Attention with a Cache inside the block, packed attention again behind it."""
    model.set_attn_implementation(CACHED)
    try:
        yield
    finally:
        model.set_attn_implementation(attention.PACKED)


def states(model: PreTrainedModel, ids: Tensor, positions: Tensor, cache: Cache) -> Tensor:
    """[B,T,d] last hidden states of ids [B,T] at positions [B,T], which `cache` was told about."""
    ready = cache.seen[:, None, None] if cache.layout is None else None  # 4 dimensions: transformers makes no mask
    out = model.base_model(
        input_ids=ids, position_ids=positions, attention_mask=ready, use_cache=False, llmtrain_cache=cache
    )
    return out.last_hidden_state
