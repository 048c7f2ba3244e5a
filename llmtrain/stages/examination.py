"""Examining a judge on rankings that it has not learnt from, for reward while it trains and for eval behind it."""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from llmtrain.config.schema import Eval, Reward
from llmtrain.data.microworld.rows import probes
from llmtrain.data.microworld.world import World
from llmtrain.data.records import Kind, Message
from llmtrain.data.split import Split
from llmtrain.errors import InitError
from llmtrain.evaluate import report
from llmtrain.loop.learner import Evaluation, Rate
from llmtrain.models import scalar
from llmtrain.models.scalar import ScalarModel
from llmtrain.objectives import statistics
from llmtrain.objectives.ranking import pairs
from llmtrain.objectives.statistics import Bin
from llmtrain.run import lineage
from llmtrain.run.session import Session
from llmtrain.stages import inputs, lineup, setup
from llmtrain.stages.lineup import Entry
from llmtrain.stages.rankings import Ranked, Rankings, strict_pairs
from llmtrain.text.template import encode_answer, encode_prompt

DEMONSTRATIONS = 256  # training prompts whose best answers get mean score 0
PROBES = 24  # prompts of each family, all kinds of answer each


@dataclass(frozen=True)
class Examined:
    """A report card, the bins of its picture, the probes that the judge does not pass, and the record for a file."""

    values: Evaluation
    bins: list[Bin]
    failed: list[str]
    record: dict[str, Any]


class Examination:
    """Held-out rankings, noise-free ones where there are some, and probes where there is a world, for one judge."""

    def __init__(
        self,
        model: ScalarModel,
        tokenizer: PreTrainedTokenizerBase,
        rankings: Rankings,
        split: Split,
        clean: Rankings | None,
        *,
        eval_rows: int,
        world: int | None,
    ):
        self.model, self.tokenizer, self.rankings, self.clean = model, tokenizer, rankings, clean
        self.held, self.shown, self.world = split.eval[:eval_rows], split.train[:DEMONSTRATIONS], world
        self.bins: list[Bin] = []  # of the last report card, for its picture
        self.record: dict[str, Any] = {}  # of the same, for a file

    def values(self, *, centred: bool) -> Evaluation:
        """The report card now. centred: tell means as if the demonstrations had mean 0, which `save` sees to."""
        judged = self._pairs(self.rankings.batches(self.held))
        self.bins = statistics.calibration(judged.d)
        demonstrations = self.demonstrations()
        shift = float(demonstrations.mean()) if centred else 0.0
        self.record = report.record(judged, shift)
        best = judged.scores[judged.best]
        values = report.card(judged) | {
            "eval/best_mean": float(best.mean()) - shift,
            "eval/best_sd": float(best.std(correction=0)),
            "eval/demonstrations_mean": float(demonstrations.mean()) - shift,
            "eval/demonstrations_sd": float(demonstrations.std(correction=0)),
        }
        if self.clean:
            clean = self._pairs(self.clean.batches(range(self.clean.prompts)))
            values["eval/clean_accuracy"] = report.rate(clean.d, clean.prompt)
        return values | self.probe()

    def demonstrations(self) -> Tensor:
        """Scores of the best answers of the first training prompts, the demonstrations at hand (correctness B6)."""
        return torch.cat([self.model.scores(b.packed)[b.best] for b in self.rankings.batches(self.shown)])

    def _pairs(self, batches: list[Ranked]) -> report.Judged:
        """Every pair of the rankings, as the judge sees it."""
        found: dict[str, list[Tensor]] = defaultdict(list)
        before = 0  # prompts of the batches before
        for batch in batches:
            values, two = self.model.scores(batch.packed), pairs(batch.group, batch.ranks)
            for name, of_answer in (("d", values), ("longer", batch.lengths), ("margin", -batch.ranks)):
                found[name].append(of_answer[two.better] - of_answer[two.worse])
            sizes = torch.bincount(batch.group)
            found["k"].append(sizes[two.prompt])
            found["prompt"].append(two.prompt + before)
            before += len(sizes)
            found["scores"].append(values)
            found["best"].append(batch.best)
            found["lengths"].append(batch.lengths)
        return report.Judged(**{name: torch.cat(parts) for name, parts in found.items()})

    def probe(self) -> dict[str, Rate]:
        """`probe/<family>/<kind>`: how often the gold answer beats an answer of that kind. Needs a world.

        `exam/<family>/wrong` is the same against a false answer of the right kind: told, but no gate: among a policy's
        samples there is hardly one (CONTRIBUTING has the numbers).
        """
        if self.world is None:
            return {}
        rows = probes(World(self.world), "validation", PROBES, 0)
        both = self.score([(row["prompt"], row[side]) for row in rows for side in ("chosen", "rejected")])
        chosen, rejected = both.view(-1, 2).unbind(1)
        right: dict[str, list[float]] = defaultdict(list)
        for row, value in zip(rows, statistics.correct(chosen - rejected).tolist(), strict=True):
            right[f"{'exam' if row['kind'] == 'wrong' else 'probe'}/{row['family']}/{row['kind']}"].append(value)
        return {name: Rate(sum(values), len(values)) for name, values in right.items()}

    def score(self, pairs_of_text: list[tuple[str, str]]) -> Tensor:
        """[n] scores of (request, answer) texts."""
        prompts = [encode_prompt(self.tokenizer, [Message("user", asked)]) for asked, _ in pairs_of_text]
        answers = [encode_answer(self.tokenizer, answer) for _, answer in pairs_of_text]
        return self.model.judged(prompts, answers, self.rankings.micro_tokens)


@torch.no_grad()
def of(config: Eval, session: Session, kind: Kind, judge: Entry) -> Examined:
    """Examine a saved judge on the rankings of `config.data`, or else on those that its own run held out.

    Raises InitError when the latter are others by now.
    """
    device, own = session.mesh.device, None if kind is Kind.ranking else lineup.examined(judge)
    whose: Eval | Reward = own or config
    data = replace(whose.data, cache=config.data.cache)
    tokenizer = setup.tokenizer_at(judge.origin.path, chat=True)
    rows = inputs.opened(whose, data, Kind.ranking, tokenizer)
    if own and judge.origin.run and lineage.read(judge.origin.run)["data"].get("data") != rows.source.digest:
        raise InitError(
            f"{judge.role}: {rows.source.description} are not the rankings that {judge.origin.run} learnt from; put "
            "them back, or give rankings with data=FILE"
        )
    session.poll()
    found = inputs.clean_rankings(whose, data, tokenizer)
    rankings = Rankings(rows.table, config.micro_tokens, device, strict_pairs)
    rankings.check(rows.split, rows.source.description)
    examination = Examination(
        scalar.load(judge.origin.path, device=device, dtype=session.mesh.dtype).eval(),
        tokenizer,
        rankings,
        rows.split,
        Rankings(found, config.micro_tokens, device, strict_pairs) if found else None,
        eval_rows=data.eval_rows,
        world=data.world,
    )
    values = examination.values(centred=False)
    return Examined(
        values, examination.bins, report.failed(values, own.probe_threshold) if own else [], examination.record
    )
