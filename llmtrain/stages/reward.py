"""reward: learn to rank answers as the annotators did, all answers of a prompt together.

Ends with a report card on held-out prompts and, where the world has them, with probes: known good answers against the
other kinds of answer in each family. Pair accuracy alone does not show what a judge has never seen ranked.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from llmtrain.config.schema import Reward, Tie
from llmtrain.data import cache
from llmtrain.data.microworld.rows import probes
from llmtrain.data.microworld.world import World
from llmtrain.data.order import Rows
from llmtrain.data.pack import by_tokens, pack
from llmtrain.data.records import Kind, Message
from llmtrain.loop.fit import fit
from llmtrain.loop.learner import Evaluation, Loss, Rate, Stateless
from llmtrain.loop.stopping import numbers
from llmtrain.models import scalar
from llmtrain.models.scalar import ScalarModel
from llmtrain.objectives import statistics
from llmtrain.objectives.ranking import kway_loss, pairs
from llmtrain.run import lineage
from llmtrain.run.session import Session
from llmtrain.stages import inputs, setup
from llmtrain.stages.rankings import Ranked, Rankings, strict_pairs
from llmtrain.text.template import encode_answer, encode_prompt

DEMONSTRATIONS = 256  # training prompts whose best answers get mean score 0
PROBES = 24  # prompts of each family, all kinds of answer each
ALIKE = 2  # tokens that two answers of like length may differ by


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
        self.clean = Rankings(clean, config.batch.micro_tokens, self.device, self._counts) if clean else None
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
        held = self.split.eval[: self.config.data.eval_rows]
        batches = self.rankings.batches(held)
        d, longer = self.differences(batches)
        best = self._best(batches) - (self._demonstrated() if self.config.normalise else 0.0)
        values: Evaluation = {
            "eval/accuracy": rate(d, len(held)),
            "eval/log_loss": statistics.log_loss(d),
            "eval/brier": statistics.brier(d),
            "eval/ece": statistics.ece(d),
            "eval/confidence": statistics.mean_confidence(d),
            "eval/length_correlation": statistics.correlation(d, longer),
            "eval/best_mean": float(best.mean()),
            "eval/best_sd": float(best.std(correction=0)),
        }
        near = longer.abs() <= ALIKE
        if bool(near.any()):
            values["eval/accuracy_like_length"] = rate(d[near], len(held))
        if self.clean:
            d, _ = self.differences(self.clean.batches(range(self.clean.prompts)))
            values["eval/clean_accuracy"] = rate(d, self.clean.prompts)
        return values | self.probe()

    def probe(self) -> dict[str, Rate]:
        """`probe/<family>/<kind>`: how often the gold answer beats an answer of that kind. Needs data.world.

        `exam/<family>/wrong` is the same against a false answer of the right kind: told, but no gate: among a policy's
        samples there is hardly one (CONTRIBUTING has the numbers).
        """
        if self.config.data.world is None:
            return {}
        rows = probes(World(self.config.data.world), "validation", PROBES, 0)
        chosen = self.score([(row["prompt"], row["chosen"]) for row in rows])
        rejected = self.score([(row["prompt"], row["rejected"]) for row in rows])
        right: dict[str, list[float]] = defaultdict(list)
        for row, value in zip(rows, statistics.correct(chosen - rejected).tolist(), strict=True):
            right[f"{'exam' if row['kind'] == 'wrong' else 'probe'}/{row['family']}/{row['kind']}"].append(value)
        return {name: Rate(sum(values), len(values)) for name, values in right.items()}

    def score(self, pairs_of_text: list[tuple[str, str]]) -> Tensor:
        """[n] scores of (request, answer) texts."""
        rows = [
            encode_prompt(self.tokenizer, [Message("user", asked)]) + encode_answer(self.tokenizer, answer)
            for asked, answer in pairs_of_text
        ]
        parts = by_tokens([len(row) for row in rows], self.config.batch.micro_tokens)
        return torch.cat([self.model.scores(pack([rows[i] for i in part]).to(self.device)) for part in parts])

    def _best(self, batches: list[Ranked]) -> Tensor:
        """Scores of the best answers of each prompt."""
        return torch.cat([self.model.scores(batch.packed)[batch.best] for batch in batches])

    @torch.no_grad()
    def _demonstrated(self) -> float:
        """Mean score of the best answers of the first training prompts, the demonstrations at hand (correctness B6).

        Computed anew at each save; between saves the bias is 0, so that a save more or less changes no bit.
        """
        return float(self._best(self.rankings.batches(self.split.train[:DEMONSTRATIONS])).mean())

    def save(self, path: Path) -> None:
        if self.config.normalise:
            self.model.normalise(self._demonstrated())
        scalar.save(self.model, self.tokenizer, path)
        self.model.normalise(0.0)

    def load(self, path: Path) -> None:
        scalar.load_weights(self.model, path)
        self.model.normalise(0.0)


def rate(d: Tensor, prompts: int) -> Rate:
    """Share of pairs in the right order, ties half; the interval counts prompts, whose pairs hang together."""
    return Rate(float(statistics.correct(d).sum()), len(d), min(prompts, len(d)))


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
        failed = examine(outcome.values, config.probe_threshold)
        if mesh.first:
            Console().print(card(outcome.values, failed))
        session.write_json("probes.json", {"threshold": config.probe_threshold, "failed": failed})
        return setup.finish(session, outcome, "eval/accuracy", probes_failed=failed)


def examine(values: Evaluation, threshold: float) -> list[str]:
    """The probes that the judge does not pass."""
    return sorted(name for name, value in numbers(values).items() if name.startswith("probe/") and value < threshold)


def card(values: Evaluation, failed: list[str]) -> Table:
    """The report card as a table: held-out shares with 95 % intervals, then what the probes found."""
    view = Table(title="report card of the judge, held-out prompts", title_justify="left")
    for column in ("what", "value", "95 % interval"):
        view.add_column(column, justify="left" if column == "what" else "right")
    for name, value in values.items():
        if isinstance(value, Rate) and name.startswith("eval/"):
            low, high = value.interval(0.95)
            view.add_row(name, f"{value.value:.3f}", f"[{low:.2f}, {high:.2f}] of {value.n} pairs")
        elif name.startswith("eval/"):
            view.add_row(name, f"{numbers({name: value})[name]:.3f}", "")
    exams = [value for name, value in numbers(values).items() if name.startswith("exam/")]
    probed = sum(name.startswith("probe/") for name in values)
    if probed:
        view.add_row("true beats false of the same form", f"{sum(exams) / len(exams):.3f}", "no gate")
        view.add_row("probes passed", f"{probed - len(failed)} of {probed}", ", ".join(failed))
    return view
