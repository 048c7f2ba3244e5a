"""reward: learn to rank answers as the annotators did, all answers of a prompt together.

Ends with a report card on held-out prompts and, where the world has them, with probes: known good answers against the
other kinds of answer in each family. Pair accuracy alone does not show what a judge has never seen ranked.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from transformers import PreTrainedTokenizerBase

from llmtrain.config.schema import Reward, Tie
from llmtrain.data import cache
from llmtrain.data.order import Rows
from llmtrain.data.records import Kind
from llmtrain.evaluate import report
from llmtrain.loop.fit import fit
from llmtrain.loop.learner import Evaluation, Loss, Stateless
from llmtrain.models import scalar
from llmtrain.models.scalar import ScalarModel
from llmtrain.objectives import statistics
from llmtrain.objectives.ranking import kway_loss, pairs
from llmtrain.run import lineage
from llmtrain.run.session import Session
from llmtrain.stages import inputs, setup
from llmtrain.stages.examination import Examination
from llmtrain.stages.rankings import Ranked, Rankings, strict_pairs


class Judging(Stateless):
    """The learner: one round is one update on the next batch.rows prompts with all their answers."""

    def __init__(
        self,
        config: Reward,
        model: ScalarModel,
        tokenizer: PreTrainedTokenizerBase,
        rows: inputs.Rows,
        clean: cache.Table | None,
        session: Session,
    ):
        self.model = self.trained = self.exported = model
        self.config, self.tokenizer, self.split, self.session = config, tokenizer, rows.split, session
        self.device = next(model.parameters()).device
        self.rankings = Rankings(rows.table, config.batch.micro_tokens, self.device, self._counts)
        self.rankings.check(rows.split, rows.source.description)
        self.examination = Examination(
            model,
            tokenizer,
            self.rankings,
            rows.split,
            Rankings(clean, config.batch.micro_tokens, self.device, self._counts) if clean else None,
            eval_rows=config.data.eval_rows,
            world=config.data.world,
        )
        self.order = Rows(config.seed, len(rows.split.train), config.batch.rows)

    def _counts(self, ranks: np.ndarray) -> float:
        """1 for a prompt with a pair, as the loss has it."""
        return float(len(ranks) > 1 if self.config.tie is Tie.half else strict_pairs(ranks) > 0)

    def round(self, step: int) -> Iterator[list[Ranked]]:
        _, rows = self.order.at(step)
        yield self.rankings.batches(self.split.train[rows])

    def loss(self, batch: Ranked) -> Loss:
        scores = self.model.scores(batch.packed)
        total, prompts = kway_loss(scores, batch.group, batch.ranks, tie=self.config.tie.value)
        found = pairs(batch.group, batch.ranks)
        right = statistics.correct(scores.detach()[found.better] - scores.detach()[found.worse])
        return Loss(total, {"loss": (total.item(), prompts), "accuracy": (float(right.sum()), len(right))})

    def evaluate(self, step: int) -> Evaluation:
        """The report card on held-out prompts; what its pictures need goes to a file."""
        values = self.examination.values(centred=self.config.normalise)
        self.session.write_json(f"reliability/step-{step:08d}.json", {"judge": self.examination.record})
        return values

    @torch.no_grad()
    def _demonstrated(self) -> float:
        """Mean score of the demonstrations.

        Computed anew at each save; between saves the bias is 0, so that a save more or less changes no bit.
        """
        return float(self.examination.demonstrations().mean())

    def save(self, path: Path) -> None:
        if self.config.normalise:
            self.model.normalise(self._demonstrated())
        scalar.save(self.model, self.tokenizer, path)
        self.model.normalise(0.0)

    def load(self, path: Path) -> None:
        scalar.load_weights(self.model, path)
        self.model.normalise(0.0)


def run(config: Reward, path: Path) -> dict:
    """Train, examine and record; returns the result record."""
    mesh = setup.mesh_of(config)
    with setup.session_of(config, path, mesh, higher_is_better=True) as session:
        origin = setup.origin_of(config, path, "init", config.init, ("sft",))
        tokenizer = setup.tokenizer_at(origin.path, chat=True)
        rows = inputs.opened(config, config.data, Kind.ranking, tokenizer)
        model = scalar.from_causal(setup.model_at(origin.path, mesh), seed=config.seed).to(mesh.device)
        setup.check_context(model.model, config.data.max_length, "data.max_length")
        lineage.write(path, {"init": origin}, {"data": rows.source.digest})
        session.count(rows.counts)
        clean = inputs.clean_rankings(config, config.data, tokenizer)
        learner = Judging(config, model, tokenizer, rows, clean, session)
        total = setup.steps_of(config, learner.order.steps_per_epoch)
        outcome = fit(
            learner,
            setup.optimizer_of(config, model),
            setup.schedule_of(config, total),
            session,
            setup.plan_of(
                config,
                total,
                best="eval/accuracy",
                higher=True,
                shown=("train/loss", "train/accuracy", "eval/accuracy"),
            ),
        )
        failed = report.failed(outcome.values, config.probe_threshold)
        if mesh.first:
            Console().print(report.table({"judge": outcome.values}, {"judge": failed}))
        session.write_json("probes.json", {"threshold": config.probe_threshold, "failed": failed})
        return setup.finish(session, outcome, "eval/accuracy", probes_failed=failed)
