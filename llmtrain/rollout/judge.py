"""Who scores an answer: a reward model, or a function of its text (rules.py, function.py)."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from llmtrain.data.records import Prompt
from llmtrain.models.scalar import ScalarModel
from llmtrain.rollout.rules import Score, ask
from llmtrain.rollout.sample import Completion


class Judge(Protocol):
    """Scores answers to prompts; higher is better."""

    def score(self, prompts: Sequence[Prompt], ids: Sequence[list[int]], answers: Sequence[Completion]) -> Tensor:
        """[B] float32 on the CPU, one per (prompt, its token ids, answer)."""


class RewardJudge:
    """A frozen reward model, read at the last token of prompt and answer."""

    def __init__(self, model: ScalarModel, micro_tokens: int):
        self.model, self.micro_tokens = model, micro_tokens

    @torch.no_grad()
    def score(self, prompts: Sequence[Prompt], ids: Sequence[list[int]], answers: Sequence[Completion]) -> Tensor:
        return self.model.judged(ids, [answer.ids for answer in answers], self.micro_tokens).cpu()


class TextJudge:
    """A function of the prompt's last message, the answer's text and what else the prompt's row holds.

    text: what an answer says, without the EOS that ends it. poll: called before each answer, a function may be slow.
    """

    def __init__(self, function: Score, text: Callable[[Completion], str], poll: Callable[[], None]):
        self.function, self.text, self.poll = function, text, poll

    def score(self, prompts: Sequence[Prompt], ids: Sequence[list[int]], answers: Sequence[Completion]) -> Tensor:
        return torch.tensor([self._ask(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)])

    def _ask(self, prompt: Prompt, answer: Completion) -> float:
        self.poll()
        return ask(self.function, prompt, self.text(answer))
