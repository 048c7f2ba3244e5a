"""Batched decoding on any transformers causal model: every prompt gets one continuation.

Letters: B rows decoded together, P width of the left-padded prompts, V vocabulary.

The answer of a row is a function of its prompt and its own uniform draws, not of the batch around it. The model's
generation_config plays no part: what is sampled is softmax(logits / temperature) and nothing else (correctness C2).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel

from llmtrain.errors import TrainingError
from llmtrain.models.attention import decoding
from llmtrain.models.causal import precision
from llmtrain.rollout.kvcache import preallocated

DROP = 0.8  # finished rows leave when the others are at most this share


@dataclass(frozen=True)
class Completion:
    """What the model wrote behind a prompt; `ids` holds the EOS if it ended by itself.

    logp: [len(ids)] what the sampler gave each token, at its temperature; greedy decoding has none.
    """

    ids: list[int]
    ended: bool
    logp: Tensor = field(default_factory=lambda: torch.zeros(0), compare=False)


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float,
    eos_id: int,
    uniforms: Tensor | None = None,
    batch_rows: int = 256,
    should_stop: Callable[[], None] | None = None,
    told: Callable[[int, int], None] | None = None,
) -> list[Completion]:
    """One Completion per prompt, in their order.

    temperature 0 decodes greedily; else row i uses uniforms[i, t] in [0, 1) for its token t (inverse CDF).
    should_stop is called once per token and may raise; told hears of every token (which prompt, its id) as it comes.
    Raises TrainingError on logits that are not finite.
    """
    assert (temperature == 0) == (uniforms is None), "uniforms go with sampling, and only with it"
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    done: list[Completion | None] = [None] * len(prompts)
    with decoding(model), precision(model), evaluating(model):
        for start in range(0, len(order), batch_rows):
            rows = order[start : start + batch_rows]
            draws = None if uniforms is None else uniforms[rows].to(model.device)
            batch = _Batch(model, [prompts[i] for i in rows], max_new_tokens, temperature, eos_id, draws)
            heard = None if told is None else (lambda row, token, rows=rows: told(rows[row], token))
            for i, ids, logp in zip(rows, *batch.run(should_stop, heard), strict=True):
                done[i] = Completion(ids, bool(ids) and ids[-1] == eos_id, logp)
    return [c for c in done if c is not None]


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """No dropout inside the block; the mode it had behind it, also when the caller stops in the middle."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


class _Batch:
    """Rows that are decoded together; finished ones leave the cache."""

    def __init__(self, model, prompts, max_new_tokens, temperature, eos_id, uniforms):
        self.model, self.temperature, self.eos_id, self.uniforms = model, temperature, eos_id, uniforms
        width = max(map(len, prompts))
        self.device = model.device
        lengths = torch.tensor([len(p) for p in prompts])
        self.ids = torch.zeros(len(prompts), width, dtype=torch.int64)
        for row, prompt in enumerate(prompts):
            self.ids[row, width - len(prompt) :] = torch.tensor(prompt)
        self.ids = self.ids.to(self.device)
        # one mask for the whole decode: the prompt's padding is hidden, all that is written is seen
        self.seen = torch.ones(len(prompts), width + max_new_tokens, dtype=torch.int64, device=self.device)
        self.seen[:, :width] = (torch.arange(width)[None] >= (width - lengths)[:, None]).to(self.device)
        self.width, self.max_new_tokens = width, max_new_tokens
        self.cache = preallocated(model.config, width + max_new_tokens)
        self.written = torch.full((len(prompts), max_new_tokens), eos_id, device=self.device)
        self.logp = torch.zeros(len(prompts), max_new_tokens, device=self.device)
        self.count = torch.zeros(len(prompts), dtype=torch.int64, device=self.device)

    def run(
        self, should_stop: Callable[[], None] | None, told: Callable[[int, int], None] | None
    ) -> tuple[list[list[int]], list[Tensor]]:
        """The tokens of each row and their log-probabilities."""
        rows = torch.arange(len(self.ids), device=self.device)
        alive = torch.ones(len(rows), dtype=torch.bool, device=self.device)
        step, positions = self.ids, (self.seen[:, : self.width].cumsum(1) - 1).clamp(min=0)
        for t in range(self.max_new_tokens):
            if should_stop is not None:
                should_stop()
            logits = self.model(
                input_ids=step,
                attention_mask=self.seen[rows, : self.width + t],
                position_ids=positions,
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            token = self.choose(logits, rows, t)
            self.written[rows[alive], t] = token[alive]
            self.count[rows[alive]] += 1
            if told is not None:
                for row, new in zip(rows[alive].tolist(), token[alive].tolist(), strict=True):
                    told(row, new)
            alive &= token != self.eos_id
            left = int(alive.sum())
            if not left:
                break
            positions = positions[:, -1:] + 1
            if left <= DROP * len(rows):
                keep = alive.nonzero().squeeze(1)
                self.cache.batch_select_indices(keep)
                rows, token, positions, alive = rows[keep], token[keep], positions[keep], alive[keep]
            step = token[:, None]
        counts = self.count.tolist()
        logp = self.logp.cpu() if self.uniforms is not None else torch.zeros(len(counts), 0)
        ids = [row[:n] for row, n in zip(self.written.tolist(), counts, strict=True)]
        return ids, [row[:n].clone() for row, n in zip(logp, counts, strict=True)]

    def choose(self, logits: Tensor, rows: Tensor, t: int) -> Tensor:
        """[B, V] logits -> [B] tokens: the best, or where the row's own draw falls in the distribution."""
        best = logits.max(-1)
        if not bool(best.values.isfinite().all()):  # a NaN is the maximum of its row
            raise TrainingError(
                "the model's logits are not finite while sampling; lower optimizer.lr, or start from another init"
            )
        if self.uniforms is None:
            return best.indices
        token, self.logp[rows, t] = inverse_cdf(logits, self.temperature, self.uniforms[rows, t])
        return token


def inverse_cdf(logits: Tensor, temperature: float, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Sample softmax(logits / temperature): logits [B, V], uniforms [B] in [0, 1) -> [B] tokens, [B] their log-probs.

    A token of probability 0 is never drawn.
    """
    z = logits.float() / temperature
    z = z - z.amax(-1, keepdim=True)
    cumulative = z.exp().cumsum(-1)
    total = cumulative[:, -1:].contiguous()
    below = total.nextafter(torch.zeros_like(total))  # rounding may lift a draw to the total, behind the last token
    token = torch.searchsorted(cumulative, torch.minimum(uniforms[:, None] * total, below), right=True)
    return token.squeeze(1), (z.gather(1, token) - total.log()).squeeze(1)
