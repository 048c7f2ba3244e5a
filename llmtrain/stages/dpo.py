"""dpo: improve the model on the same rankings without a judge. Every pair of a prompt's answers counts."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmtrain.config.schema import DPO
from llmtrain.data.order import Rows
from llmtrain.data.records import Kind
from llmtrain.evaluate import hhh
from llmtrain.loop.fit import fit
from llmtrain.loop.learner import Evaluation, Loss, Rate
from llmtrain.models import causal, lora
from llmtrain.models.lora import Adapters
from llmtrain.objectives.dpo import PairLogprobs, Preference, dpo_loss
from llmtrain.objectives.logprobs import sequence_sums
from llmtrain.objectives.ranking import pairs
from llmtrain.objectives.statistics import correct
from llmtrain.run import lineage
from llmtrain.run.session import Session
from llmtrain.stages import inputs, setup
from llmtrain.stages.policy import Policy
from llmtrain.stages.rankings import Ranked, Rankings, strict_pairs


class Preferences(Policy):
    """The learner: one round is one update on the next batch.rows prompts, all their answers forwarded once."""

    def __init__(
        self,
        config: DPO,
        model: PreTrainedModel,
        reference: PreTrainedModel | Adapters,
        tokenizer: PreTrainedTokenizerBase,
        rows: inputs.Rows,
        held: inputs.Prompts | None,
        session: Session,
        adapters: Adapters | None = None,
    ):
        super().__init__(model, tokenizer, session, adapters)
        self.config, self.split, self.held = config, rows.split, held
        self.rankings = Rankings(rows.table, config.batch.micro_tokens, model.device, strict_pairs)
        self.rankings.check(rows.split, rows.source.description)
        self.order = Rows(config.seed, len(rows.split.train), config.batch.rows)
        with lora.frozen(reference) as before:
            self.reference = self._reference(before, range(len(rows.table)))

    @torch.no_grad()
    def _reference(self, reference: PreTrainedModel, prompts: Sequence[int]) -> Tensor:
        """[answers] log-probabilities under the frozen reference, by the same function as the policy's."""
        out = torch.zeros(self.rankings.answers, device=reference.device)
        for batch in self.rankings.batches(prompts):
            out[batch.rows] = _sums(reference, batch)
        return out

    def round(self, step: int) -> Iterator[list[Ranked]]:
        _, rows = self.order.at(step)
        yield self.rankings.batches(self.split.train[rows])

    def preference(self, batch: Ranked) -> Preference:
        policy, reference = _sums(self.model, batch), self.reference[batch.rows]
        found = pairs(batch.group, batch.ranks)
        return dpo_loss(
            PairLogprobs(policy[found.better], policy[found.worse]),
            PairLogprobs(reference[found.better], reference[found.worse]),
            loss=self.config.loss.value,
            beta=self.config.beta,
            label_smoothing=self.config.label_smoothing,
        )

    def loss(self, batch: Ranked) -> Loss:
        p = self.preference(batch)
        n = len(p.losses)
        total = p.losses.sum()
        return Loss(
            total,
            {
                "loss": (total.item(), n),
                "accuracy": (float(correct(p.margin).sum()), n),
                "margin": (p.margin.sum().item(), n),
                "reward_chosen": (p.chosen_reward.sum().item(), n),
                "reward_rejected": (p.rejected_reward.sum().item(), n),
                "logp_chosen": (p.chosen_logp.sum().item(), n),
            },
        )

    def evaluate(self, step: int) -> Evaluation:
        """Loss and accuracy on held-out prompts' rankings; gold grades where the prompts have graders."""
        held = self.split.eval[: self.config.data.eval_rows]
        parts = [self.preference(b) for b in self.rankings.batches(held)]
        losses, margins = torch.cat([p.losses for p in parts]), torch.cat([p.margin for p in parts])
        values: Evaluation = {
            "eval/loss": float(losses.mean()),
            "eval/accuracy": Rate(float(correct(margins).sum()), len(margins), len(held)),
            "eval/margin": float(margins.mean()),
        }
        if self.held:
            answers = self.complete(self.held.ids, self.config.sampling, self.config.seed, "held-out")
            texts = [(self.text(a), a.ended) for a in answers]
            values |= hhh.gold(self.held.records, texts)
            self.write_samples(step, hhh.rows(self.held.records, texts))
        return values


def _sums(model: PreTrainedModel, batch: Ranked) -> Tensor:
    """[S] summed log-probabilities of the answers, at temperature 1."""
    logp = causal.logprobs(model, batch.packed, batch.targets)
    return sequence_sums(logp, batch.targets.sequence, len(batch.ranks))


def run(config: DPO, path: Path) -> dict:
    """Train and record; returns the result record."""
    mesh = setup.mesh_of(config)
    with setup.session_of(config, path, mesh, higher_is_better=True) as session:
        origin = setup.origin_of(config, path, "init", config.init, ("sft",))
        tokenizer = setup.tokenizer_at(origin.path, chat=True)
        rows = inputs.opened(config, config.data, Kind.ranking, tokenizer)
        held = inputs.graded(config.data, tokenizer)
        model, adapters = setup.policy_of(config, session, origin)
        reference = setup.reference_at(origin.path, mesh, adapters)
        setup.check_context(model, config.data.max_length, "data.max_length")
        lineage.write(path, {"init": origin, "reference": origin}, {"data": rows.source.digest})
        session.count(rows.counts)
        learner = Preferences(config, model, reference, tokenizer, rows, held, session, adapters)
        del reference  # a whole model; the learner has its log-probabilities
        total = setup.steps_of(config, learner.order.steps_per_epoch)
        stop = setup.stop_of(config.stop)
        best = stop.metric if stop else "eval/accuracy"
        outcome = fit(
            learner,
            setup.optimizer_of(config, learner.trained),
            setup.schedule_of(config, total),
            session,
            setup.plan_of(config, total, best=best, higher=True, shown=("train/loss", "train/accuracy", best)),
            stop,
        )
        return setup.finish(session, outcome, best, another_algorithm=setup.departures(config))
