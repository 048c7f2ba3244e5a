"""Decoding on any transformers causal model: every prompt gets one continuation.

Letters: R prompts, M slots, n slots in use, V vocabulary.

The answer of a row is a function of its prompt and its own uniform draws, not of the batch around it. The model's
generation_config plays no part: what is sampled is softmax(logits / temperature) and nothing else (correctness C2).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import Tensor
from transformers import PreTrainedModel

from llmtrain.data.pack import by_tokens, pack
from llmtrain.errors import TrainingError
from llmtrain.models.precision import narrowed, precision
from llmtrain.rollout.graph import Recorded, Step, cuda_graph
from llmtrain.rollout.kvcache import Cache, caching, states

REFILL = 8  # new prompts come in when one in so many slots is free
PREFILL = 8192  # tokens of prompts that are read at once; what that takes is small beside a training step


@dataclass(frozen=True)
class Completion:
    """What the model wrote behind a prompt; `ids` holds the EOS if it ended by itself.

    logp: [len(ids)] what the sampler gave each token, at its temperature; greedy decoding has none.
    """

    ids: list[int]
    ended: bool
    logp: Tensor = field(default_factory=lambda: torch.zeros(0), compare=False)


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
    """One Completion per prompt, in their order; at most batch_rows are written at a time.

    temperature 0 decodes greedily; else row i uses uniforms[i, t] in [0, 1) for its token t (inverse CDF).
    should_stop is called once per token and may raise; told hears of every token (which prompt, its id) as it comes.
    Raises TrainingError on logits that are not finite.
    """
    assert (temperature == 0) == (uniforms is None), "uniforms go with sampling, and only with it"
    if not prompts:
        return []
    with narrowed(model), torch.inference_mode(), caching(model), precision(model), evaluating(model):
        rows = _Rows(model, prompts, max_new_tokens, temperature, eos_id, uniforms, batch_rows, told)
        while rows.left:
            if should_stop is not None:
                should_stop()
            rows.advance()
    del rows.forward  # it holds rows: without this the cache would stay until Python looks for cycles
    return rows.completions()


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """No dropout inside the block; the mode it had behind it, also when the caller stops in the middle."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def cache_bytes(model: PreTrainedModel) -> int:
    """What a slot keeps of one token, in bytes: read off the cache of a single token, so true of any architecture."""
    with torch.inference_mode(), caching(model), precision(model):
        cache = Cache(1, 1, model.device)
        packed = pack([[0]]).to(model.device)
        cache.prompts(packed, 0)
        states(model, packed.ids[None], packed.positions[None], cache)
    return cache.bytes


class _Rows:
    """Rows in the first n slots. One that ends leaves, the last ones fill the gap, and new prompts follow."""

    def __init__(self, model, prompts, max_new_tokens, temperature, eos_id, uniforms, batch_rows, told):
        self.model, self.prompts, self.limit = model, prompts, max_new_tokens
        self.temperature, self.eos_id, self.told = temperature, eos_id, told
        slots, device = min(batch_rows, len(prompts)), model.device
        self.cache = Cache(slots, max(map(len, prompts)) + max_new_tokens, device)
        self.uniforms = None if uniforms is None else uniforms.to(device)
        self.waiting, self.n, self.used = 0, 0, 0  # next prompt; slots in use; tokens of the longest row in them
        # of each slot: its prompt, tokens written, position of the last one, and that token
        self.row, self.count, self.at, self.token = torch.zeros(4, slots, dtype=torch.int64, device=device)
        self.written = torch.zeros(len(prompts), max_new_tokens, dtype=torch.int64, device=device)
        self.logp = torch.zeros(self.written.shape if uniforms is not None else (0,), device=device)
        self.lengths = torch.zeros(len(prompts), dtype=torch.int64, device=device)
        self.forward: Step = self._forward
        if device.type == "cuda":
            self.forward = Recorded(self._forward, slots, self.cache.room, cuda_graph)

    @property
    def left(self) -> bool:
        return self.n > 0 or self.waiting < len(self.prompts)

    def advance(self) -> None:
        """Read new prompts where there is room for enough of them, else write a token behind each row."""
        free = self.cache.slots - self.n
        if self.waiting < len(self.prompts) and free >= max(1, self.cache.slots // REFILL):
            self._admit(free)
        else:
            self._step()

    def _admit(self, free: int) -> None:
        lengths = [len(p) for p in islice(self.prompts, self.waiting, self.waiting + free)]
        taken = len(next(by_tokens(lengths, PREFILL)))
        first, last = self.n, self.n + taken
        packed = pack(self.prompts[self.waiting : self.waiting + taken])
        packed = packed.to(self.model.device)
        self.cache.prompts(packed, first)
        hidden = states(self.model, packed.ids[None], packed.positions[None], self.cache)[0, packed.last]
        self.row[first:last] = torch.arange(self.waiting, self.waiting + taken)
        self.at[first:last], self.count[first:last] = packed.positions[packed.last], 0
        self.n, self.waiting, self.used = last, self.waiting + taken, max(self.used, *lengths[:taken])
        self._write(self._logits(hidden), first)

    def _step(self) -> None:
        self.used += 1
        self.at[: self.n] += 1
        self._write(self.forward(self.n, self.used), 0)

    def _forward(self, n: int, used: int) -> Tensor:
        """[n, V] logits behind the last tokens of the first n slots, whose rows have at most `used` tokens."""
        self.cache.step(self.at[:n], used)
        return self._logits(states(self.model, self.token[:n, None], self.at[:n, None], self.cache)[:, 0])

    def _logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.model.get_output_embeddings()(hidden)
        return logits

    def _write(self, logits: Tensor, first: int) -> None:
        """Choose the token behind each row from slot `first` on; rows that end leave."""
        here = slice(first, self.n)
        rows, count = self.row[here], self.count[here]
        token = self._choose(logits, rows, count)
        self.written[rows, count] = token
        self.token[here] = token
        count += 1
        for row, new in zip(rows.tolist(), token.tolist(), strict=True) if self.told is not None else ():
            self.told(row, new)
        ended = (token == self.eos_id) | (count == self.limit)
        if bool(ended.any()):
            self._leave(first + ended.nonzero().squeeze(1))

    def _leave(self, slots: Tensor) -> None:
        """The rows in `slots` have ended."""
        self.lengths[self.row[slots]] = self.count[slots]
        stays = torch.ones(self.n, dtype=torch.bool, device=slots.device)
        stays[slots] = False
        self.n -= len(slots)
        target, source = slots[slots < self.n], self.n + stays[self.n :].nonzero().squeeze(1)
        if len(target):
            self.cache.move(target, source, self.used)
            for state in (self.row, self.count, self.at, self.token):
                state[target] = state[source]
        self.used = int(self.at[: self.n].max()) + 1 if self.n else 0

    def _choose(self, logits: Tensor, rows: Tensor, count: Tensor) -> Tensor:
        """[n, V] logits -> [n] tokens: the best, or where the row's own draw falls in the distribution."""
        if self.uniforms is None:
            known, token = logits.max(-1)  # a NaN is the maximum of its row
        else:
            token, known = inverse_cdf(logits, self.temperature, self.uniforms[rows, count])
            self.logp[rows, count] = known
        if not bool(known.isfinite().all()):
            raise TrainingError(
                "the model's logits are not finite while sampling; lower optimizer.lr, or start from another init"
            )
        return token

    def completions(self) -> list[Completion]:
        written, lengths, logp = self.written.tolist(), self.lengths.tolist(), self.logp.cpu()
        ids = [row[:n] for row, n in zip(written, lengths, strict=True)]
        said = (
            [row[:n].clone() for row, n in zip(logp, lengths, strict=True)] if len(logp) else [logp.clone()] * len(ids)
        )
        return [Completion(row, row[-1] == self.eos_id, p) for row, p in zip(ids, said, strict=True)]


def inverse_cdf(logits: Tensor, temperature: float, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Sample softmax(logits / temperature): logits [B, V], uniforms [B] in [0, 1) -> [B] tokens, [B] their log-probs.

    A token of probability 0 is never drawn.
    """
    z = logits.float() / temperature
    z -= z.amax(-1, keepdim=True)
    cumulative = z.exp().cumsum_(-1)
    total = cumulative[:, -1:].contiguous()
    below = total.nextafter(torch.zeros_like(total))  # rounding may lift a draw to the total, behind the last token
    token = torch.searchsorted(cumulative, torch.minimum(uniforms[:, None] * total, below), right=True)
    token.clamp_(max=logits.shape[1] - 1)  # of NaN alone, whose log-probability is NaN
    return token.squeeze(1), (z.gather(1, token) - total.log()).squeeze(1)
