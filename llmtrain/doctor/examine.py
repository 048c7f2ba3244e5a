"""The table of diagnoses, and who asks them: at the end all, while a run goes on each once."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llmtrain.doctor import judge, policy, rows
from llmtrain.doctor.record import EVALUATION, Finding, Record, Seen


@dataclass(frozen=True)
class Diagnosis:
    """A name, whether the result can still be trusted, the test, and what to try, in keys of the configuration."""

    name: str
    severe: bool
    test: Callable[[Record], Seen | None]
    advice: str


DIAGNOSES = (  # the most telling first: while a run goes on, one is told at an evaluation
    Diagnosis(
        "kl-negative",
        True,
        policy.kl_negative,
        "launch.dtype=float32; ppo/sampler_gap shows how far the sampler is from the trainer",
    ),
    Diagnosis(
        "kl-exploding",
        True,
        policy.kl_exploding,
        "a lower optimizer.lr=, kl.coef= three times as high, target_kl=0.02, ppo_epochs=1",
    ),
    Diagnosis(
        "over-optimisation",
        True,
        policy.over_optimisation,
        "loop.keep_best=1 and take the best checkpoint, a higher kl.coef= (dpo: beta=), fewer max_steps=; or rankings "
        "of the policy's own answers for the judge (pipeline: rounds=2)",
    ),
    Diagnosis(
        "length-hacking",
        True,
        policy.length_hacking,
        "a lower sampling.max_new_tokens=, a higher kl.coef=; and a judge trained on pairs of like length",
    ),
    Diagnosis(
        "no-eos",
        True,
        policy.no_eos,
        "a higher sampling.max_new_tokens=, a lower judge.missing_eos_score=; and an sft whose answers were not cut "
        "(a higher data.max_length= there)",
    ),
    Diagnosis(
        "value-loss-stuck",
        False,
        policy.value_loss_stuck,
        "a higher advantage.critic_lr= or advantage.value_coef=, a larger batch.rows=",
    ),
    Diagnosis(
        "entropy-collapse",
        False,
        policy.entropy_collapse,
        "a higher kl.coef=, a lower optimizer.lr=, ppo_epochs=1; sampling.temperature=1.0",
    ),
    Diagnosis(
        "judge-at-chance",
        True,
        judge.judge_at_chance,
        "a higher optimizer.lr= or more epochs=; then more rankings, and answers that differ more (sample: policies=, "
        "foreign=)",
    ),
    Diagnosis(
        "judge-overconfident",
        False,
        judge.judge_overconfident,
        "fewer epochs=, a lower optimizer.lr=, optimizer.weight_decay=0.1, more rankings",
    ),
    Diagnosis(
        "judge-length-biased",
        False,
        judge.judge_length_biased,
        "rankings whose better answers are longer as often as shorter; ppo with a lower sampling.max_new_tokens=",
    ),
    Diagnosis("empty-mask", False, rows.empty_mask, "a higher data.max_length=; llmtrain data shows the mask"),
    Diagnosis("duplicate-rows", False, rows.duplicate_rows, "each row once in data.path=, or fewer epochs="),
    Diagnosis("leaking-prompts", True, rows.leaking_prompts, "each prompt once in data.path=, whatever its spelling"),
)


def examine(record: Record) -> list[Finding]:
    """All that holds for a run as it stands."""
    asked = ((d, d.test(record)) for d in DIAGNOSES)
    return [Finding(d.name, d.severe, seen, d.advice) for d, seen in asked if seen]


def record_of(rows: Iterable[Mapping[str, Any]], counts: Mapping[str, int]) -> Record:
    """The record of a run that is over."""
    record = Record(counts)
    for row in rows:
        record.add(row)
    return record


class Watch:
    """A run that goes on: each finding is told once, and one at an evaluation.

    What it tells is a pure function of counts and rows, so a run that goes on tells the rest and nothing twice.
    """

    def __init__(self, counts: Mapping[str, int], rows: Iterable[Mapping[str, Any]]):
        self.record = Record()
        self.told: set[str] = set()
        self.count(counts)
        for row in rows:
            self.note(row)

    def count(self, counts: Mapping[str, int]) -> list[Finding]:
        """Take counts in; what is new by them alone, before the first step, is told at once."""
        self.record.counts |= counts
        return self._tell() if not self.record.names("") else []

    def note(self, row: Mapping[str, Any]) -> list[Finding]:
        """Take a row in; after an evaluation at most one finding."""
        self.record.add(row)
        return self._tell(1) if any(name.startswith(EVALUATION) for name in row) else []

    def _tell(self, limit: int | None = None) -> list[Finding]:
        new = [finding for finding in examine(self.record) if finding.name not in self.told][:limit]
        self.told |= {finding.name for finding in new}
        return new
