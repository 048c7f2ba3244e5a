"""Who scores an answer. The reward model is one judge; rules and the user's own functions can be others."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from llmtrain.data.pack import by_tokens, pack
from llmtrain.models.scalar import ScalarModel
from llmtrain.rollout.sample import Completion


class Judge(Protocol):
    """Scores answers to prompts; higher is better."""

    def score(self, prompts: Sequence[list[int]], answers: Sequence[Completion]) -> Tensor:
        """[B] float32 on the CPU, one per (prompt ids, answer)."""


class RewardJudge:
    """A frozen reward model, read at the last token of prompt and answer."""

    def __init__(self, model: ScalarModel, micro_tokens: int):
        self.model, self.micro_tokens = model, micro_tokens
        self.device = next(model.parameters()).device

    @torch.no_grad()
    def score(self, prompts: Sequence[list[int]], answers: Sequence[Completion]) -> Tensor:
        rows = [p + a.ids for p, a in zip(prompts, answers, strict=True)]
        parts = by_tokens([len(row) for row in rows], self.micro_tokens)
        return torch.cat([self.model.scores(pack([rows[i] for i in part]).to(self.device)).cpu() for part in parts])
