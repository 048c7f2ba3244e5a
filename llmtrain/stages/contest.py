"""What eval measures of models that write: loss on held-out rows, answers to held-out prompts, wins, distance."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmtrain.config.choices import DataName
from llmtrain.config.schema import Eval
from llmtrain.data.order import Stream
from llmtrain.data.pack import Packed, Targets, after, by_tokens, following, pack, targets
from llmtrain.data.records import Chat, Kind, Message, Prompt
from llmtrain.data.sources import gather
from llmtrain.evaluate import hhh
from llmtrain.loop.learner import Evaluation, Rate
from llmtrain.models import causal
from llmtrain.objectives import kl, lm, statistics
from llmtrain.rollout.judge import Judge
from llmtrain.rollout.sample import Completion
from llmtrain.run.session import Session
from llmtrain.stages import inputs, setup
from llmtrain.stages.inputs import Prompts
from llmtrain.stages.lineup import Entry
from llmtrain.stages.policy import complete, text_of
from llmtrain.text import tokenizers

log = logging.getLogger("llmtrain")


@dataclass(frozen=True)
class Answers:
    """What a model wrote to the held-out prompts, decoded as `sampling` says, and what the judge gives it."""

    completions: list[Completion]
    texts: list[tuple[str, bool]]  # (text, whether it ended)
    scores: Tensor | None  # [B] on the CPU


@dataclass(frozen=True)
class Measured:
    """The numbers of a model; its answers where the rows hold prompts."""

    values: Evaluation
    answers: Answers | None = None


@dataclass(frozen=True)
class Held:
    """The held-out rows, chosen once for all models: which ones are held out depends on the first one's tokenizer."""

    prompts: list[Prompt]
    chats: list[Chat] = field(default_factory=list)


class Contest:
    """Measures one model after the other on the same rows; the reference and the judge stay loaded."""

    def __init__(self, config: Eval, session: Session, kind: Kind, writers: Sequence[Entry]):
        self.config, self.session, self.kind, self.mesh = config, session, kind, session.mesh
        self.tokenizer = cache(self._tokenizer)
        everyone = [self.tokenizer(writer) for writer in writers]
        self.held = None if kind is Kind.text else chosen(config, kind, everyone[0])
        if len({tokenizers.digest(tokenizer) for tokenizer in everyone}) > 1:
            log.warning(
                "the models have different tokenizers: compare their bits per byte, not their perplexities%s",
                ", and mind that each one's own rows are held out" if self.held is None else "",
            )
        self.shared = self._fitting(everyone) if self.held else []
        self.reference: Entry | None = None
        self.judge: Judge | None = None

    def _tokenizer(self, entry: Entry) -> PreTrainedTokenizerBase:
        return setup.tokenizer_at(entry.origin.path, chat=self.kind is not Kind.text)

    def _fitting(self, everyone: list[PreTrainedTokenizerBase]) -> list[Prompt]:
        """The held-out prompts that no tokenizer makes longer than data.max_length."""
        assert self.held
        kept = [p.messages for p in self.held.prompts]
        for tokenizer in everyone:
            fits = {p.messages for p in self._prompts(tokenizer, self.held.prompts).records}
            kept = [messages for messages in kept if messages in fits]
        there = set(kept)
        return [p for p in self.held.prompts if p.messages in there]

    def _prompts(self, tokenizer: PreTrainedTokenizerBase, prompts: list[Prompt]) -> Prompts:
        return inputs.tokenised_prompts(gather(prompts, "held-out prompts"), tokenizer, self.config.data)

    def against(self, reference: Entry, judge: Judge | None) -> None:
        """From now on models also meet `reference`; without a judge only their distance to it is measured."""
        self.reference, self.judge = reference, judge
        self.base = setup.model_at(reference.origin.path, self.mesh).eval()
        self.before = self._answers(self.base, self._prompts(self.tokenizer(reference), self.shared), reference)

    @torch.no_grad()
    def measure(self, entry: Entry) -> Measured:
        """All numbers of one model."""
        tokenizer, same = self.tokenizer(entry), self._is_reference(entry)
        model = self.base if same else setup.model_at(entry.origin.path, self.mesh).eval()
        values = self._loss(model, tokenizer)
        if self.held is None:
            return Measured(values)
        prompts = self._prompts(tokenizer, self.shared)
        answers = self.before if same else self._answers(model, prompts, entry)
        values |= self._described(answers, prompts)
        if self.reference:
            values |= self._distance(model, tokenizer, prompts, answers)
        return Measured(values, answers)

    def _is_reference(self, entry: Entry) -> bool:
        return self.reference is not None and self.reference.origin.digest == entry.origin.digest

    def _answers(self, model: PreTrainedModel, prompts: Prompts, entry: Entry) -> Answers:
        tokenizer, c = self.tokenizer(entry), self.config
        written = complete(model, tokenizer, prompts.ids, c.sampling, c.seed, "eval", session=self.session)
        texts = [(text_of(tokenizer, answer), answer.ended) for answer in written]
        return Answers(written, texts, self.judge.score(prompts.records, prompts.ids, written) if self.judge else None)

    def _described(self, answers: Answers, prompts: Prompts) -> Evaluation:
        """Length, gold grades where there are graders, the judge's score and the share of answers that win."""
        ended = torch.tensor([ended for _, ended in answers.texts])
        values: Evaluation = {}
        if prompts.graded:
            found = hhh.grades(prompts.records, answers.texts)
            values |= {f"gold/{name}": rate for name, rate in sorted(found.items())}
            values["gold/min"] = min((found[h] for h in hhh.H if h in found), key=lambda rate: rate.value)
        if answers.scores is not None:
            before = torch.tensor([ended for _, ended in self.before.texts])
            assert self.before.scores is not None
            won = statistics.wins(answers.scores - self.before.scores, ended, before)
            values["eval/win_rate"] = Rate(float(won.sum()), len(won), prompts.combinations)
            values["eval/score"] = float(answers.scores.mean())
        values["eval/length"] = sum(len(a.ids) for a in answers.completions) / len(answers.completions)
        values["eval/ended"] = Rate(float(ended.sum()), len(ended))
        return values

    def _distance(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Prompts, answers: Answers
    ) -> Evaluation:
        """KL(model || reference) in nats per response, of sampled answers and by the forward of training (k1).

        Answers that were decoded greedily are no sample of the model; then other ones are drawn, at temperature 1.
        """
        c, sampling, written = self.config, self.config.sampling, answers.completions
        if not sampling.temperature:
            sampling = replace(sampling, temperature=1.0)
            written = complete(model, tokenizer, prompts.ids, sampling, c.seed, "eval kl", session=self.session)
        rows = [prompt + answer.ids for prompt, answer in zip(prompts.ids, written, strict=True)]
        sums = []
        for part in by_tokens([len(row) for row in rows], c.micro_tokens):
            self.session.poll_alone()
            packed = pack([rows[i] for i in part])
            wanted = after(packed, [len(prompts.ids[i]) for i in part])
            logp, ref = (self._logprobs(m, packed, wanted, sampling.temperature) for m in (model, self.base))
            sums.append(torch.zeros(len(part)).index_add(0, wanted.sequence, kl.k1(logp - ref).float()))
        nats = torch.cat(sums)
        spread = float(nats.std(correction=0)) / len(nats) ** 0.5
        return {"eval/kl": float(nats.mean()), "eval/kl_stderr": spread}

    def _logprobs(self, model: PreTrainedModel, packed: Packed, wanted: Targets, temperature: float = 1.0) -> Tensor:
        return causal.logprobs(model, packed.to(model.device), wanted.to(model.device), temperature).cpu()

    def _loss(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Evaluation:
        """Nats per token, perplexity (both per token of this tokenizer) and bits per byte on the held-out rows."""
        width = torch.from_numpy(tokenizers.byte_lengths(tokenizer))
        nats = tokens = byte_nats = n_bytes = 0.0
        for packed, wanted in self._rows(tokenizer):
            self.session.poll_alone()
            surprise = -self._logprobs(model, packed, wanted)
            part = lm.byte_sums(surprise, width[wanted.ids])
            nats, tokens = nats + float(surprise.sum()), tokens + len(surprise)
            byte_nats, n_bytes = byte_nats + float(part[0]), n_bytes + float(part[1])
        if not tokens:
            return {}
        return {
            "eval/loss": nats / tokens,
            "eval/perplexity": lm.perplexity(nats, tokens),
            "eval/bits_per_byte": lm.bits_per_byte(byte_nats, n_bytes),
        }

    def _rows(self, tokenizer: PreTrainedTokenizerBase) -> list[tuple[Packed, Targets]]:
        """The held-out rows as micro-batches with the tokens that the loss is on; none where there are only prompts."""
        data, budget = self.config.data, self.config.micro_tokens
        if self.held is None:
            opened = inputs.opened(self.config, data, Kind.text, tokenizer)
            held = Stream(opened.split.eval, data.max_length, 0)
            spans = [span for n in range(min(held.rows_per_epoch, data.eval_rows)) for span in held.row(0, n)]
            texts = [opened.table.column("ids")[document][start:stop] for document, start, stop in spans]
            parts = ([texts[i] for i in part] for part in by_tokens([len(ids) for ids in texts], budget))
            return [(row := pack([ids[:-1] for ids in part]), following(row, part)) for part in parts]
        if not self.held.chats:
            return []
        if data.name is DataName.microworld:  # its max_length is of the prompts
            data = replace(data, max_length=data.max_length + self.config.sampling.max_new_tokens)
        table = inputs.table(data, gather(self.held.chats, "held-out conversations"), Kind.chat, tokenizer)
        ids, masks = ([table.column(name)[n] for n in range(len(table))] for name in ("ids", "mask"))
        groups = list(by_tokens([len(row) for row in ids], budget))
        return [(row := pack([ids[i] for i in part]), targets(row, [masks[i] for i in part])) for part in groups]


def chosen(config: Eval, kind: Kind, tokenizer: PreTrainedTokenizerBase) -> Held:
    """The held-out rows: the microworld's test prompts with their good answers, or what the files hold out."""
    data = config.data
    if data.name is DataName.microworld:
        prompts = inputs.held_out(data, "test", data.eval_rows, tokenizer).records
        return Held(prompts, [Chat((*p.messages, Message("assistant", p.meta["good"]))) for p in prompts])
    opened = inputs.opened(config, data, Kind.chat if kind is Kind.chat else Kind.prompt, tokenizer)
    records = list(opened.source.records)
    rows = [records[int(opened.table.column("row")[n][0])] for n in opened.split.eval[: data.eval_rows]]
    chats = [row for row in rows if isinstance(row, Chat)]
    asked = [row for row in rows if isinstance(row, Prompt)]
    once = {p.messages: p for p in (*asked, *(Prompt(chat.messages[:-1], chat.meta) for chat in chats))}
    return Held(list(once.values()), chats)
