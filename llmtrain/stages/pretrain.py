"""pretrain: predict the next token of a corpus, from random weights (or from a model, to go on with it)."""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmtrain.config.choices import TokenizerName
from llmtrain.config.schema import Pretrain
from llmtrain.config.schema import Tokenizer as TokenizerConfig
from llmtrain.data.order import Span, Stream
from llmtrain.data.pack import by_tokens, following, pack
from llmtrain.data.records import Kind
from llmtrain.data.remember import remembered
from llmtrain.data.sources import Source
from llmtrain.loop.fit import fit
from llmtrain.loop.learner import Evaluation, Loss
from llmtrain.models import causal
from llmtrain.objectives import lm
from llmtrain.run import lineage
from llmtrain.run.seeding import derive
from llmtrain.run.session import Session
from llmtrain.stages import inputs, setup
from llmtrain.stages.policy import Policy, TokenBatch
from llmtrain.text import tokenizers
from llmtrain.text.plain import encode


class Pretraining(Policy):
    """The learner: one round is one update on the next rows of the stream."""

    def __init__(
        self,
        config: Pretrain,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        rows: inputs.Rows,
        session: Session,
    ):
        super().__init__(model, tokenizer, session)
        self.config, self.table = config, rows.table
        context = config.data.max_length
        self.stream = Stream(rows.split.train, context, config.seed)
        self.held = Stream(rows.split.eval, context, 0)
        self.byte_lengths = torch.from_numpy(tokenizers.byte_lengths(tokenizer))

    def batches(self, rows: list[list[Span]]) -> list[TokenBatch]:
        """Micro-batches of at most batch.micro_tokens; a row in which no token is a target is left out."""
        rows = [row for row in rows if row]
        untold = [len(row) if self.config.doc_mask else 1 for row in rows]  # last tokens, which are targets alone
        sizes = [sum(stop - start for _, start, stop in row) - n for row, n in zip(rows, untold, strict=True)]
        return [self._batch([rows[i] for i in part]) for part in by_tokens(sizes, self.config.batch.micro_tokens)]

    def _batch(self, rows: list[list[Span]]) -> TokenBatch:
        pieces = [[self.table.column("ids")[d][start:stop] for d, start, stop in row] for row in rows]
        if not self.config.doc_mask:  # documents of a row see each other, as one sequence
            pieces = [[np.concatenate(row)] for row in pieces if row]
        sequences = [piece for row in pieces for piece in row]
        packed = pack(
            [ids[:-1] for ids in sequences]
        )  # the last token is a target alone: the model may not know its place
        wanted = following(packed, sequences)
        device = self.model.device
        return TokenBatch(packed.to(device), wanted.to(device))

    def round(self, step: int) -> Iterator[list[TokenBatch]]:
        yield self.batches(self.stream.at(step, self.config.batch.rows))

    def loss(self, batch: TokenBatch) -> Loss:
        nats = causal.nll(self.model, batch.packed, batch.targets)
        return Loss(nats, {"loss": (nats.item(), batch.items)})

    def evaluate(self, step: int) -> Evaluation:
        """Held-out loss in nats per token, perplexity, bits per byte; and samples for people to read."""
        nats = tokens = byte_nats = n_bytes = 0.0
        rows = [self.held.row(0, i) for i in range(min(self.held.rows_per_epoch, self.config.data.eval_rows))]
        for batch in self.batches(rows):
            logp = causal.logprobs(self.model, batch.packed, batch.targets)
            nats -= logp.sum().item()
            tokens += len(logp)
            part = lm.byte_sums(-logp, self.byte_lengths.to(logp.device)[batch.targets.ids])
            byte_nats, n_bytes = byte_nats + float(part[0]), n_bytes + float(part[1])
        self.write(step)
        return {
            "eval/loss": nats / tokens,
            "eval/perplexity": lm.perplexity(nats, tokens),
            "eval/bits_per_byte": lm.bits_per_byte(byte_nats, n_bytes),
        }

    def write(self, step: int) -> None:
        """What the model makes of the sample prompts, the same draws every time."""
        prompts, s = self.config.sample_prompts, self.config.sampling
        room = self.model.config.max_position_embeddings - s.max_new_tokens
        ids = [(encode(self.tokenizer, [text])[0] or [self.tokenizer.eos_token_id])[-room:] for text in prompts]
        completions = self.complete(ids, s, self.config.seed)
        texts = [{"prompt": prompt, "text": self.text(c)} for prompt, c in zip(prompts, completions, strict=True)]
        self.write_samples(step, texts)


def run(config: Pretrain, path: Path) -> dict:
    """Train and record; returns the result record."""
    mesh = setup.mesh_of(config)
    with setup.session_of(config, path, mesh) as session:
        source = inputs.records(config, config.data, Kind.text)
        origin = setup.origin_of(config, path, "init", config.init, ("pretrain",)) if config.init else None
        resumed = session.checkpoint.path if session.checkpoint else origin.path if origin else None
        tokenizer = (
            setup.tokenizer_at(resumed, chat=False)
            if resumed
            else new_tokenizer(config.tokenizer, source, config.data.cache)
        )
        rows = inputs.split(source, inputs.table(config.data, source, Kind.text, tokenizer), config.data, Kind.text)
        model = setup.model_at(resumed, mesh, dropout=config.model.dropout) if resumed else new_model(config, tokenizer)
        model = causal.prepare(model, mesh.device, mesh.dtype)
        setup.check_context(model, config.data.max_length, "data.max_length")
        lineage.write(path, {"init": origin} if origin else {}, {"data": source.digest})
        learner = Pretraining(config, model, tokenizer, rows, session)
        total = setup.steps_of(config, learner.stream.steps_per_epoch(config.batch.rows))
        outcome = fit(
            learner,
            setup.optimizer_of(config, model),
            setup.schedule_of(config, total),
            session,
            setup.plan_of(config, total, best="eval/loss", higher=False, shown=("train/loss", "eval/perplexity")),
        )
        return setup.finish(session, outcome, "eval/loss")


def new_tokenizer(config: TokenizerConfig, source: Source, cache: str) -> PreTrainedTokenizerBase:
    """Train a tokenizer on all that the records say, or load the one that tokenizer.path names.

    A BPE that was trained on the same records before is taken from the folder `cache`.
    """
    if config.name is TokenizerName.file:
        assert config.path is not None  # config/check.py
        return tokenizers.load(config.path)
    if config.name is TokenizerName.char:
        return tokenizers.train_char(inputs.texts(source))
    size = config.vocab_size
    parts = [source.digest, size, tokenizers.SPECIALS, version("tokenizers")]
    return tokenizers.bpe_of(remembered(cache, "bpe", parts, lambda: tokenizers.bpe_rules(inputs.texts(source), size)))


def new_model(config: Pretrain, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """A model with random weights, a pure function of the seed."""
    m = config.model
    return causal.build(
        m.name.value,
        vocab_size=len(tokenizer),
        layers=m.layers,
        width=m.width,
        heads=m.heads,
        ffn_width=m.ffn_width,
        context=m.context,
        tie_embeddings=m.tie_embeddings,
        embedding_std=m.embedding_std,
        init_std=m.init_std,
        dropout=m.dropout,
        eos_id=tokenizer.eos_token_id,
        pad_id=tokenizer.pad_token_id,
        seed=derive(config.seed, "weights"),
    )
