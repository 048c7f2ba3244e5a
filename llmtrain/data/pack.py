"""Sequences side by side in one row, without padding.

Letters: N tokens in the row, S sequences, M predicted tokens (targets).

Every forward of this program runs on a `Packed` row. Attention stays inside a sequence (models/attention.py) and
positions restart at 0 in each, so a sequence gets the same numbers packed as alone (correctness A6).

Answers to one prompt share it (`behind`): the prompt stands in the row once, as part of the first of them, and the
others name it as what stands before their own tokens. It sees nothing but itself, so its numbers are the same for all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Packed:
    """S sequences in one row of N tokens. Every token is one sequence's own; others may begin with it too."""

    ids: Tensor  # [N] int64
    positions: Tensor  # [N] int64, restarting at 0 in each sequence
    bounds: Tensor  # [S+1] int64, sequence s owns ids[bounds[s]:bounds[s+1]] ...
    shared: Tensor  # [S,2] int64, ... which stand behind ids[shared[s,0]:shared[s,1]], another's; nothing where equal

    @property
    def last(self) -> Tensor:
        """[S] index of the last token of each sequence, from its stored length."""
        return self.bounds[1:] - 1

    @property
    def before(self) -> Tensor:
        """[N] index of the token that each one follows; of the first of a sequence nothing that has a meaning."""
        found = torch.arange(-1, len(self.ids) - 1, device=self.ids.device)
        sharing = (self.shared[:, 0] < self.shared[:, 1]).nonzero().squeeze(1)
        found[self.bounds[sharing]] = self.shared[sharing, 1] - 1
        return found

    def to(self, device: torch.device) -> "Packed":
        return Packed(self.ids.to(device), self.positions.to(device), self.bounds.to(device), self.shared.to(device))


@dataclass(frozen=True)
class Targets:
    """Which tokens of a packed row are predicted: slot `at[m]` predicts the token that follows it, `ids[m]`.

    The last token of a shared prompt predicts the first one of each answer.
    """

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
    none = torch.zeros(len(sequences), 2, dtype=torch.int64)
    return Packed(torch.from_numpy(ids), torch.from_numpy(positions), torch.from_numpy(bounds), none)


def behind(prompts: Sequence[Ids], answers: Sequence[Ids]) -> Packed:
    """Lay answers side by side, each behind its prompt, which neighbours with the same prompt share.

    No answer is empty: it would have no token of its own to be scored at.
    """
    held = in_common(prompts)
    row = pack([a if n else np.concatenate([p, a]) for p, a, n in zip(prompts, answers, held, strict=True)])
    own = row.bounds.diff()
    assert bool((own > 0).all()), "an answer without tokens"
    holder = np.maximum.accumulate(np.where(held == 0, np.arange(len(held)), 0))  # who has the prompt for its own
    start, length = row.bounds[:-1][torch.from_numpy(holder)], torch.from_numpy(held)
    positions = row.positions + torch.repeat_interleave(length, own)
    return Packed(row.ids, positions, row.bounds, torch.stack([start, start + length], 1))


def in_common(prompts: Sequence[Ids]) -> np.ndarray:
    """[S] tokens of each prompt that cost nothing in a row, because the prompt next to it is the same: all, or 0."""
    pairs = zip(prompts[:-1], prompts[1:], strict=True)
    return np.array([0, *(len(b) if a is b or np.array_equal(a, b) else 0 for a, b in pairs)], dtype=np.int64)


def targets(packed: Packed, masks: Sequence[Sequence[bool] | np.ndarray]) -> Targets:
    """The tokens with mask True, except the first of a sequence, which nothing predicts.

    masks: one per sequence, as long as it; True counts.
    """
    return _targets(packed, torch.from_numpy(np.concatenate([np.asarray(m, dtype=bool) for m in masks])))


def after(packed: Packed, starts: Ids) -> Targets:
    """The tokens from index `starts[s]` of each sequence on: the response behind a prompt of that length."""
    start = torch.as_tensor(starts, dtype=torch.int64)
    return _targets(packed, packed.positions >= torch.repeat_interleave(start, packed.bounds.diff()))


def _targets(packed: Packed, mask: Tensor) -> Targets:
    slots = (mask & (packed.positions > 0)).nonzero().squeeze(1)
    sequence = torch.searchsorted(packed.bounds, slots, right=True) - 1
    return Targets(packed.before[slots], packed.ids[slots], sequence)


def following(packed: Packed, sequences: Sequence[Ids]) -> Targets:
    """The token behind each one of `packed`, whose sequences are these without their last tokens."""
    ids = torch.from_numpy(np.concatenate([np.asarray(ids[1:], dtype=np.int64) for ids in sequences]))
    lengths = packed.bounds.diff()
    return Targets(torch.arange(len(ids)), ids, torch.repeat_interleave(torch.arange(len(lengths)), lengths))


def by_tokens(lengths: Ids, budget: int, held: Ids | None = None) -> Iterator[list[int]]:
    """Split 0..len-1, in order, into runs of at most `budget` tokens (a longer single item stands alone).

    held: how many tokens of each item stand in the row already when the item before it is in the same run.
    """
    run: list[int] = []
    used = 0
    for index, length in enumerate(lengths):
        new = length - held[index] if run and held is not None else length
        if run and used + new > budget:
            yield run
            run, used, new = [], 0, length
        run.append(index)
        used += new
    if run:
        yield run
