"""Sequences side by side in one row, without padding.

Letters: N tokens of all sequences, S sequences, M predicted tokens (targets).

Every forward of this program runs on a `Packed` row. Attention stays inside a sequence (models/attention.py) and
positions restart at 0 in each, so a sequence gets the same numbers packed as alone (correctness A6).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Packed:
    """S sequences in one row of N tokens."""

    ids: Tensor  # [N] int64
    positions: Tensor  # [N] int64, restarting at 0 in each sequence
    bounds: Tensor  # [S+1] int64, sequence s is ids[bounds[s]:bounds[s+1]]

    @property
    def last(self) -> Tensor:
        """[S] index of the last token of each sequence, from its stored length."""
        return self.bounds[1:] - 1

    def to(self, device: torch.device) -> "Packed":
        return Packed(self.ids.to(device), self.positions.to(device), self.bounds.to(device))


@dataclass(frozen=True)
class Targets:
    """Which tokens of a packed row are predicted: slot `at[m]` predicts the token after it, `ids[m]`."""

    at: Tensor  # [M] int64
    ids: Tensor  # [M] int64
    sequence: Tensor  # [M] int64, the sequence it belongs to

    def to(self, device: torch.device) -> "Targets":
        return Targets(self.at.to(device), self.ids.to(device), self.sequence.to(device))


Ids = Sequence[int] | np.ndarray


def pack(sequences: Sequence[Ids]) -> Packed:
    """Lay sequences (lists or arrays of token ids) side by side."""
    lengths = np.array([len(s) for s in sequences], dtype=np.int64)
    bounds = np.concatenate([[0], lengths.cumsum()])
    ids = np.concatenate([np.asarray(s, dtype=np.int64) for s in sequences])
    positions = np.arange(bounds[-1]) - np.repeat(bounds[:-1], lengths)
    return Packed(torch.from_numpy(ids), torch.from_numpy(positions), torch.from_numpy(bounds))


def targets(packed: Packed, masks: Sequence[Sequence[bool] | np.ndarray]) -> Targets:
    """The tokens with mask True, except the first of a sequence, which nothing predicts.

    masks: one per sequence, as long as it; True counts.
    """
    mask = torch.from_numpy(np.concatenate([np.asarray(m, dtype=bool) for m in masks]))
    slots = (mask & (packed.positions > 0)).nonzero().squeeze(1)
    sequence = torch.searchsorted(packed.bounds, slots, right=True) - 1
    return Targets(slots - 1, packed.ids[slots], sequence)


def after(packed: Packed, starts: Ids) -> Targets:
    """The tokens from index `starts[s]` of each sequence on: the response behind a prompt of that length."""
    start = torch.as_tensor(starts, dtype=torch.int64)
    lengths = packed.bounds.diff()
    mask = packed.positions >= torch.repeat_interleave(start, lengths)
    slots = (mask & (packed.positions > 0)).nonzero().squeeze(1)
    sequence = torch.searchsorted(packed.bounds, slots, right=True) - 1
    return Targets(slots - 1, packed.ids[slots], sequence)


def following(packed: Packed, sequences: Sequence[Ids]) -> Targets:
    """The token behind each one of `packed`, whose sequences are these without their last tokens."""
    ids = torch.from_numpy(np.concatenate([np.asarray(ids[1:], dtype=np.int64) for ids in sequences]))
    lengths = packed.bounds.diff()
    return Targets(torch.arange(len(ids)), ids, torch.repeat_interleave(torch.arange(len(lengths)), lengths))


def by_tokens(lengths: Ids, budget: int) -> Iterator[list[int]]:
    """Split 0..len-1, in order, into runs of at most `budget` tokens (a longer single item stands alone)."""
    run: list[int] = []
    used = 0
    for index, length in enumerate(lengths):
        if run and used + length > budget:
            yield run
            run, used = [], 0
        run.append(index)
        used += length
    if run:
        yield run
