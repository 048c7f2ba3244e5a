"""sft: teach the model to follow instructions, by demonstrations. The loss is on the answers, their EOS included."""

from collections.abc import Iterator
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmtrain.config.schema import SFT
from llmtrain.data.order import Rows
from llmtrain.data.pack import Ids, by_tokens, pack, targets
from llmtrain.data.records import Kind
from llmtrain.loop.fit import fit
from llmtrain.loop.learner import Evaluation, Loss
from llmtrain.models import causal, draw
from llmtrain.objectives import lm
from llmtrain.run import lineage
from llmtrain.run.seeding import derive
from llmtrain.run.session import Session
from llmtrain.stages import inputs, setup
from llmtrain.stages.policy import Policy, TokenBatch

SHOWN = 8  # held-out prompts that are answered at each evaluation, for people to read


class Instruction(Policy):
    """The learner: one round is one update on the next batch.rows conversations."""

    def __init__(
        self,
        config: SFT,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        rows: inputs.Rows,
        session: Session,
    ):
        super().__init__(model, tokenizer, session)
        self.config, self.table, self.split = config, rows.table, rows.split
        self.order = Rows(config.seed, len(rows.split.train), config.batch.rows)

    def batches(self, indices: Ids) -> list[TokenBatch]:
        """Micro-batches of at most batch.micro_tokens."""
        ids = [self.table.column("ids")[i] for i in indices]
        masks = [self.table.column("mask")[i] for i in indices]
        device, out = self.model.device, []
        for part in by_tokens([len(row) for row in ids], self.config.batch.micro_tokens):
            packed = pack([ids[i] for i in part])
            wanted = targets(packed, [masks[i] for i in part])
            out.append(TokenBatch(packed.to(device), wanted.to(device)))
        return out

    def round(self, step: int) -> Iterator[list[TokenBatch]]:
        _, rows = self.order.at(step)
        yield self.batches(self.split.train[rows])

    def loss(self, batch: TokenBatch) -> Loss:
        nats = causal.nll(self.model, batch.packed, batch.targets)
        return Loss(nats, {"loss": (nats.item(), batch.items)})

    def evaluate(self, step: int) -> Evaluation:
        """Loss and perplexity of held-out answers, and a few answers for people to read."""
        held = self.split.eval[: self.config.data.eval_rows]
        sums = [(float(causal.nll(self.model, b.packed, b.targets)), b.items) for b in self.batches(held)]
        nats, tokens = (sum(part) for part in zip(*sums, strict=True))
        prompts = [self.table.column("ids")[i] for i in held[:SHOWN]]
        starts = [int(self.table.column("mask")[i].argmax()) for i in held[:SHOWN]]
        asked = [ids[:start].tolist() for ids, start in zip(prompts, starts, strict=True)]
        answers = self.complete(asked, self.config.sampling, self.config.seed, "samples")
        texts = [self.tokenizer.decode(ids) for ids in asked]
        rows = [
            {"prompt": text, "answer": self.text(a), "ended": a.ended} for text, a in zip(texts, answers, strict=True)
        ]
        self.write_samples(step, rows)
        return {"eval/loss": nats / tokens, "eval/perplexity": lm.perplexity(nats, tokens)}


def run(config: SFT, path: Path) -> dict:
    """Train and record; returns the result record."""
    mesh = setup.mesh_of(config)
    with setup.session_of(config, path, mesh) as session:
        origin = setup.origin_of(config, path, "init", config.init, ("pretrain",))
        tokenizer = setup.tokenizer_at(origin.path, chat=True, adopts=True)
        rows = inputs.opened(config, config.data, Kind.chat, tokenizer)
        model = setup.model_at(session.checkpoint.path if session.checkpoint else origin.path, mesh)
        draw.grow(model, len(tokenizer), derive(config.seed, "role tokens"))
        setup.check_context(model, config.data.max_length, "data.max_length")
        lineage.write(path, {"init": origin}, {"data": rows.source.digest})
        session.count(rows.counts)
        learner = Instruction(config, model, tokenizer, rows, session)
        total = setup.steps_of(config, learner.order.steps_per_epoch)
        outcome = fit(
            learner,
            setup.optimizer_of(config, model),
            setup.schedule_of(config, total),
            session,
            setup.plan_of(config, total, best="eval/loss", higher=False, shown=("train/loss", "eval/loss")),
        )
        return setup.finish(session, outcome, "eval/loss")
