"""A causal model that is a table: logits for every beginning, none of which shares a weight with another.

It is spoken to like a transformer, packed rows and the sampler's cache included, at a fraction of the cost. A beginning
is what was said behind a prompt of one token; its number is read off the tokens as digits.
"""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GPT2Config

from llmtrain.models.scalar import ScalarModel
from llmtrain.rollout.kvcache import Cache


class Table(nn.Module):
    """[states, tokens] logits, the log of `start` at first; with `score` a number for each state, 0 at first."""

    def __init__(self, start: list[float], length: int, score: bool = False):
        super().__init__()
        self.tokens = len(start)
        self.states = sum(self.tokens**n for n in range(length + 1))
        self.head = nn.Linear(self.states, 1 if score else self.tokens, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.zeros(1, 1) if score else torch.tensor(start).log()[:, None])
        self.score = self.head
        self.config = GPT2Config(n_layer=1, vocab_size=self.tokens, bos_token_id=None, eos_token_id=None)
        self.device, self.llmtrain_dtype = torch.device("cpu"), torch.float32

    @staticmethod
    def number(said: list[int], tokens: int) -> int:
        """The state of a beginning."""
        state = 0
        for token in said:
            state = state * tokens + token + 1
        return state

    def set_attn_implementation(self, name: str) -> None:
        """There is no attention."""

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def base_model(
        self, input_ids: Tensor, position_ids: Tensor, llmtrain_cache: Cache | None = None, **_: Any
    ) -> SimpleNamespace:
        """ids, positions [1,N] of a packed row -> one hidden state per token: which beginning it ends.

        With a cache in a decoding step [n,1] each; the cache keeps the tokens themselves.
        """
        if llmtrain_cache is not None:
            said, _ = llmtrain_cache.write(self, input_ids[:, None, :, None], input_ids[:, None, :, None])
            if llmtrain_cache.layout is None:
                return SimpleNamespace(last_hidden_state=self._hot(self._states(said[..., 0, 0], position_ids)))
        ids, positions = input_ids[0], position_ids[0]
        state = torch.zeros_like(ids)
        for place in range(1, int(positions.max()) + 1):
            here = (positions == place).nonzero().squeeze(1)
            state[here] = state[here - 1] * self.tokens + ids[here] + 1
        return SimpleNamespace(last_hidden_state=self._hot(state)[None])

    def _states(self, said: Tensor, positions: Tensor) -> Tensor:
        """[n,1] where each row of the slots [M,L] stands at its position [n,1]."""
        state = torch.zeros_like(positions)
        for place in range(1, int(positions.max()) + 1):
            token = said[: len(state), place, None]
            state = torch.where(positions >= place, state * self.tokens + token + 1, state)
        return state

    def _hot(self, state: Tensor) -> Tensor:
        """One-hot; what ends an answer of full length is no beginning of anything."""
        return F.one_hot(state.clamp(max=self.states - 1), self.states).float()


def critic(start: list[float], length: int) -> ScalarModel:
    """A value for every beginning, 0 at first."""
    model: Any = Table(start, length, score=True)
    return ScalarModel(model)
