"""A key-value cache with its room taken beforehand: a decoding step writes one column and copies nothing.

Letters: B rows, H heads, T tokens, D head width. The growing cache of transformers copies all of itself at every token.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer


def preallocated(config: PretrainedConfig, room: int) -> DynamicCache:
    """A cache for `room` tokens per row; layers that are not plain attention keep the class transformers chose."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer(room) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class RoomyLayer(DynamicLayer):
    """One layer's cache: `keys` and `values` [B,H,T,D] are views of the part of the room that is written."""

    def __init__(self, room: int):
        super().__init__()
        self.room = room
        self.used = 0

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write [B,H,n,D] behind what is there; returns all keys and values so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.all_keys, self.all_values = (self._take(x) for x in (key_states, value_states))
        start, self.used = self.used, self.used + key_states.shape[2]
        self.all_keys[:, :, start : self.used] = key_states
        self.all_values[:, :, start : self.used] = value_states
        return self._show()

    def _take(self, like: Tensor) -> Tensor:
        rows, heads, _, width = like.shape
        return torch.empty(rows, heads, self.room, width, dtype=like.dtype, device=like.device)

    def _show(self) -> tuple[Tensor, Tensor]:
        self.keys, self.values = self.all_keys[:, :, : self.used], self.all_values[:, :, : self.used]
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the rows `indices`, in that order, in the room they already have."""
        for room in (self.all_keys, self.all_values):
            room[: len(indices), :, : self.used] = room[indices, :, : self.used]
        self.all_keys, self.all_values = self.all_keys[: len(indices)], self.all_values[: len(indices)]
        self._show()
