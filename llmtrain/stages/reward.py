"""reward: learn to rank answers as the annotators did, all answers of a prompt together.

Ends with a report card on held-out prompts and, where the world has them, with probes: known good answers against the
other kinds of answer in each family. Pair accuracy alone does not show what a judge has never seen ranked.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from llmtrain.config.schema import Reward
from llmtrain.data.cache import Table
from llmtrain.data.microworld.rows import probes
from llmtrain.data.microworld.world import World
from llmtrain.data.order import Rows
from llmtrain.data.pack import by_tokens, pack
from llmtrain.data.records import Kind, Message
from llmtrain.loop.fit import fit
from llmtrain.loop.learner import Evaluation, Loss, Rate, Stateless
from llmtrain.models import scalar
from llmtrain.models.scalar import ScalarModel
from llmtrain.objectives import statistics
from llmtrain.objectives.ranking import kway_loss, pairs
from llmtrain.run import lineage
from llmtrain.run.session import Session
from llmtrain.stages import inputs, setup
from llmtrain.stages.rankings import Ranked, Rankings
from llmtrain.text.template import encode_answer, encode_prompt

SHOWN = ("train/loss", "train/accuracy", "eval/accuracy")
DEMONSTRATIONS = 256  # training prompts whose best answers get mean score 0
PROBES = 24  # prompts of each family, all kinds of answer each


class Judging(Stateless):
    """The learner: one round is one update on the next batch.rows prompts with all their answers."""

    def __init__(
        self,
        config: Reward,
        model: ScalarModel,
        tokenizer: PreTrainedTokenizerBase,
        rows: inputs.Rows,
        clean: Table | None,
        session: Session,
    ):
        self.model = self.trained = self.exported = model
        self.config, self.tokenizer, self.split, self.session = config, tokenizer, rows.split, session
        self.device = next(model.parameters()).device
        self.rankings = Rankings(rows.table, config.batch.micro_tokens, self.device, count_pairs=False)
        self.clean = Rankings(clean, config.batch.micro_tokens, self.device, count_pairs=False) if clean else None
        self.order = Rows(config.seed, len(rows.split.train), config.batch.rows)

    def round(self, step: int) -> Iterator[list[Ranked]]:
        _, rows = self.order.at(step)
        yield self.rankings.batches(self.split.train[rows])

    def loss(self, batch: Ranked) -> Loss:
        scores = self.model.scores(batch.packed)
        total, prompts = kway_loss(scores, batch.group, batch.ranks, tie=self.config.tie.value)
        found = pairs(batch.group, batch.ranks)
        right = statistics.correct(scores.detach()[found.better] - scores.detach()[found.worse])
        return Loss(total, {"loss": (total.item(), prompts), "accuracy": (float(right.sum()), len(right))})

    def differences(self, batches: list[Ranked]) -> tuple[Tensor, Tensor]:
        """[P] score of the better minus the worse answer of each pair, [P] difference of their lengths."""
        scores, lengths = [], []
        for batch in batches:
            values, found = self.model.scores(batch.packed), pairs(batch.group, batch.ranks)
            scores.append(values[found.better] - values[found.worse])
            lengths.append(batch.lengths[found.better] - batch.lengths[found.worse])
        return torch.cat(scores), torch.cat(lengths)

    def evaluate(self, step: int) -> Evaluation:
        """Report card: pair accuracy, log-loss, calibration, length bias on held-out prompts."""
        d, longer = self.differences(self.rankings.batches(self.split.eval[: self.config.data.eval_rows]))
        near = longer.abs() <= 2
        values: Evaluation = {
            "eval/accuracy": rate(d),
            "eval/accuracy_like_length": rate(d[near]),
            "eval/log_loss": statistics.log_loss(d),
            "eval/brier": statistics.brier(d),
            "eval/ece": statistics.ece(d),
            "eval/length_correlation": statistics.correlation(d, longer),
        }
        if self.clean:
            d, _ = self.differences(self.clean.batches(range(self.clean.prompts)))
            values["eval/clean_accuracy"] = rate(d)
        return values | self.probe()

    def probe(self) -> dict[str, Rate]:
        """`probe/<family>/<kind>`: how often the gold answer beats an answer of that kind. Needs data.world."""
        if self.config.data.world is None:
            return {}
        rows = probes(World(self.config.data.world), "validation", PROBES, 0)
        chosen = self.score([(row["prompt"], row["chosen"]) for row in rows])
        rejected = self.score([(row["prompt"], row["rejected"]) for row in rows])
        right: dict[str, list[float]] = defaultdict(list)
        for row, value in zip(rows, statistics.correct(chosen - rejected).tolist(), strict=True):
            right[f"probe/{row['family']}/{row['kind']}"].append(value)
        return {name: Rate(sum(values), len(values)) for name, values in right.items()}

    def score(self, pairs_of_text: list[tuple[str, str]]) -> Tensor:
        """[n] scores of (request, answer) texts."""
        rows = [
            encode_prompt(self.tokenizer, [Message("user", asked)]) + encode_answer(self.tokenizer, answer)
            for asked, answer in pairs_of_text
        ]
        parts = by_tokens([len(row) for row in rows], self.config.batch.micro_tokens)
        return torch.cat([self.model.scores(pack([rows[i] for i in part]).to(self.device)) for part in parts])

    @torch.no_grad()
    def normalise(self) -> None:
        """Mean 0 over the best answers of the first training prompts, the demonstrations at hand (correctness B6).

        Computed anew at each save; between saves the bias is 0, so that a save more or less changes no bit.
        """
        best = [
            self.model.scores(batch.packed)[batch.ranks == 1]
            for batch in self.rankings.batches(self.split.train[:DEMONSTRATIONS])
        ]
        self.model.normalise(float(torch.cat(best).mean()))

    def save(self, path: Path) -> None:
        if self.config.normalise:
            self.normalise()
        scalar.save(self.model, self.tokenizer, path)
        self.model.normalise(0.0)

    def load(self, path: Path) -> None:
        scalar.load_weights(self.model, path)
        self.model.normalise(0.0)


def rate(d: Tensor) -> Rate:
    """Share of pairs in the right order, ties half."""
    return Rate(float(statistics.correct(d).sum()), len(d))


def run(config: Reward, path: Path) -> dict:
    """Train, examine and record; returns the result record."""
    mesh = setup.mesh_of(config)
    with setup.session_of(config, path, mesh, higher_is_better=True) as session:
        origin = setup.origin_of(config, path, "init", config.init, ("sft",))
        tokenizer = setup.tokenizer_at(origin.path, chat=True)
        rows = inputs.opened(config, config.data, Kind.ranking, tokenizer)
        base = setup.model_at(origin.path, mesh)
        setup.check_context(base, config.data.max_length, "data.max_length")
        model = scalar.from_causal(base, seed=config.seed).to(mesh.device)
        lineage.write(path, {"init": origin}, {"data": rows.source.digest})
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
        failed = examine(outcome.values, config.probe_threshold)
        session.write_json("probes.json", {"threshold": config.probe_threshold, "failed": failed})
        return setup.finish(session, outcome, "eval/accuracy", probes_failed=failed)


def examine(values: dict[str, float], threshold: float) -> list[str]:
    """The probes that the judge does not pass."""
    return sorted(name for name, value in values.items() if name.startswith("probe/") and value < threshold)
