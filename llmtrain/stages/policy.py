"""What the learners share whose model writes text: saving it, and answering prompts."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmtrain.config.choices import Engine
from llmtrain.config.schema import Sampling
from llmtrain.data.pack import Packed, Targets
from llmtrain.loop.learner import Stateless
from llmtrain.models import causal
from llmtrain.models.lora import Adapters
from llmtrain.rollout.sample import Completion, cache_bytes, generate
from llmtrain.run.seeding import generator
from llmtrain.run.session import Session
from llmtrain.text.streaming import decoded

log = logging.getLogger("llmtrain")


@dataclass(frozen=True)
class TokenBatch:
    """Packed sequences and the tokens of them that the loss is on, M of them."""

    packed: Packed
    targets: Targets

    @property
    def items(self) -> float:
        return len(self.targets.ids)

    @property
    def tokens(self) -> int:
        return len(self.packed.ids)

    @property
    def filling(self) -> int:
        return causal.filling(self.packed)


class Policy(Stateless):
    """A learner around a causal model, exported as it is, or merged with the adapters that learn in its place."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        session: Session,
        adapters: Adapters | None = None,
    ):
        self.model = self.exported = model
        self.trained: nn.Module = model if adapters is None else adapters
        self.tokenizer, self.session, self.adapters = tokenizer, session, adapters

    def save(self, path: Path) -> None:
        causal.save(self.model, self.tokenizer, path, self.adapters.merged() if self.adapters else None)

    def load(self, path: Path) -> None:
        """Adapters stand among the trainer's own tensors: what they are added to stays that of init."""
        if self.adapters is None:
            causal.load_weights(self.model, path)

    def complete(
        self, prompts: Sequence[list[int]], sampling: Sampling, seed: int, *parts: int | str
    ) -> list[Completion]:
        """Continue each prompt; the draws depend on (seed, parts, row) alone, not on the batch."""
        return complete(self.model, self.tokenizer, prompts, sampling, seed, *parts, session=self.session)

    def text(self, completion: Completion) -> str:
        return text_of(self.tokenizer, completion)

    def write_samples(self, step: int, rows: list[dict]) -> None:
        """samples/step-N.jsonl in the run directory, for people to read."""
        if self.session.mesh.first:
            folder = self.session.path / "samples"
            folder.mkdir(exist_ok=True)
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
            (folder / f"step-{step:08d}.jsonl").write_text("".join(lines), encoding="utf-8")


def text_of(tokenizer: PreTrainedTokenizerBase, completion: Completion) -> str:
    """What the model wrote, without the EOS that ends it."""
    return decoded(tokenizer, completion.ids[:-1] if completion.ended else completion.ids)


def tell_memory(model: PreTrainedModel, sampling: Sampling, rows: int, longest: int) -> None:
    """Say what `rows` answers will take at a time, the longest with its prompt having `longest` tokens."""
    slots = min(rows, sampling.batch_rows)
    if sampling.engine is Engine.own:
        size = slots * longest * cache_bytes(model) / 1e6
        log.info("sampling: a cache of %.1f MB for %d rows of %d tokens", size, slots, longest)


def complete(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[list[int]],
    sampling: Sampling,
    seed: int,
    *parts: int | str,
    session: Session,
) -> list[Completion]:
    """Sample (or, at temperature 0, decode greedily) one answer per prompt, shared among the processes of the run."""
    mine = list(session.mesh.share(range(len(prompts))))
    uniforms: Tensor | None = None
    if sampling.temperature:
        uniforms = torch.zeros(len(mine), sampling.max_new_tokens)
        for draws, row in zip(uniforms, mine, strict=True):  # each its own: neither others nor their number play a part
            draws.uniform_(generator=generator(seed, *parts, row))
    write: Callable[..., list[Completion]] = generate
    if sampling.engine is Engine.vllm:
        from llmtrain.rollout import vllm

        write = vllm.generate
    answers = write(
        model,
        [prompts[i] for i in mine],
        max_new_tokens=sampling.max_new_tokens,
        temperature=sampling.temperature,
        eos_id=tokenizer.eos_token_id,
        uniforms=uniforms,
        batch_rows=sampling.batch_rows,
        should_stop=session.poll_alone,
    )
    return session.mesh.gather(answers)
