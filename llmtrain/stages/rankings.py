"""Batches of ranked answers, for the stages that learn from rankings: reward and dpo.

All answers of a prompt stand in one micro-batch, so a prompt's pairs are one term of the loss (correctness B3); the
prompt itself goes through the model once for all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from llmtrain.data.cache import Table
from llmtrain.data.pack import Ids, Packed, Targets, after, behind, by_tokens
from llmtrain.data.split import Split
from llmtrain.errors import DataError
from llmtrain.models import causal


@dataclass(frozen=True)
class Ranked:
    """S answers of several prompts, packed behind them."""

    packed: Packed
    targets: Targets  # the answers' tokens, EOS included
    group: Tensor  # [S] which prompt
    ranks: Tensor  # [S] lower is better
    best: Tensor  # [S] bool, no answer of the same prompt has a lower rank
    rows: Tensor  # [S] index of the answer in the whole table
    lengths: Tensor  # [S] tokens of each answer
    items: float  # what the loss is averaged over: prompts (reward) or pairs (dpo)

    @property
    def tokens(self) -> int:
        return len(self.packed.ids)

    @property
    def filling(self) -> int:
        return causal.filling(self.packed)


def strict_pairs(ranks: np.ndarray) -> float:
    """Ordered pairs among [K] ranks."""
    return float((ranks[:, None] < ranks[None, :]).sum())


class Rankings:
    """The rows of a ranking table as batches; items(ranks) is how much a prompt's answers weigh in the loss."""

    def __init__(self, table: Table, micro_tokens: int, device: torch.device, items: Callable[[np.ndarray], float]):
        self.table, self.micro_tokens, self.device, self.items = table, micro_tokens, device, items
        sizes = table.lengths("response_lengths")
        self.prompts = len(table)
        self.first = np.concatenate([[0], sizes.cumsum()])  # index of each prompt's first answer
        self.answers = int(self.first[-1])
        self.cost = table.lengths("prompt") + table.lengths("responses")

    def check(self, split: Split, what: str) -> None:
        """Raises DataError when the training or the held-out prompts hold nothing to compare."""
        for name, rows in (("training", split.train), ("held-out", split.eval)):
            if not any(self.items(self.table.column("ranks")[i]) for i in rows):
                raise DataError(f"{what}: none of the {len(rows)} {name} prompts has two answers of different rank")

    def batches(self, prompts: Ids) -> list[Ranked]:
        """Micro-batches of at most micro_tokens, whole prompts each."""
        return [
            self._batch([prompts[i] for i in part]) for part in by_tokens(self.cost[list(prompts)], self.micro_tokens)
        ]

    def _batch(self, prompts: Ids) -> Ranked:
        asked: list[np.ndarray] = []
        answers: list[np.ndarray] = []
        group: list[int] = []
        ranks: list[float] = []
        best: list[bool] = []
        rows: list[int] = []
        items = 0.0
        for number, row in enumerate(prompts):
            sizes = self.table.column("response_lengths")[row]
            own = self.table.column("ranks")[row]
            asked += [self.table.column("prompt")[row]] * len(sizes)
            answers += np.split(self.table.column("responses")[row], sizes.cumsum()[:-1])
            group += [number] * len(sizes)
            ranks += own.tolist()
            best += (own == own.min()).tolist()
            rows += range(self.first[row], self.first[row + 1])
            items += self.items(own)
        packed = behind(asked, answers)
        return Ranked(
            packed.to(self.device),
            after(packed, [len(prompt) for prompt in asked]).to(self.device),
            torch.tensor(group, device=self.device),
            torch.tensor(ranks, device=self.device),
            torch.tensor(best, device=self.device),
            torch.tensor(rows, device=self.device),
            torch.tensor([len(answer) for answer in answers], device=self.device),
            items,
        )
