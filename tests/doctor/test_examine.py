"""Every diagnosis finds the run that has it, and leaves healthy runs and near misses alone."""

import json
import random
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import made
import pytest

from llmtrain.config import schema
from llmtrain.doctor.examine import DIAGNOSES, Watch, examine, record_of
from llmtrain.doctor.record import Record

DOCS = Path(__file__).parents[2] / "docs" / "doctor.md"


def falling(start: float, by: float, after: int):
    return lambda i: max(0.0, start - by * max(0, i - after))


SICK: dict[str, Record] = {
    "kl-negative": made.ppo(ppo_kl=lambda i: -0.3 - 0.02 * i % 0.1),
    "kl-exploding": made.ppo(ppo_kl=lambda i: 0.1 * i if i < 15 else 12.0),
    "over-optimisation": made.ppo(gold_helpful=falling(0.93, 0.1, 3), eval_score=lambda i: -1.7 + 0.2 * i),
    "length-hacking": made.ungraded(ppo_length=lambda i: 15.0 + 2 * i),
    "no-eos": made.ppo(ppo_ended=lambda i: 0.95 if i < 20 else 0.4),
    "value-loss-stuck": made.ppo(train_value_loss=1.5, ppo_explained_variance=lambda i: 0.05 * (-1) ** i),
    "entropy-collapse": made.ppo(ppo_entropy=lambda i: 0.2 * 0.8**i),
    "judge-at-chance": made.judge(accuracy=0.52, confidence=0.55),
    "judge-overconfident": made.judge(accuracy=0.68, confidence=0.95),
    "judge-length-biased": made.judge(length_correlation=0.6, accuracy_like_length=0.51),
    "empty-mask": made.rows(empty=80),
    "duplicate-rows": made.rows(repeated=400),
    "leaking-prompts": made.rows(leaked=10),
}

NEAR: dict[str, list[Record]] = {
    "kl-negative": [
        made.ppo(ppo_kl=lambda i: -0.3 + 0.31 * (i == 28)),  # one of the last rounds is above
        made.ppo(ppo_kl=-0.05, ppo_kl_se=0.1),  # below 0 by chance
        made.ppo(ppo_kl=-0.002, ppo_kl_se=0.0001),  # rounding
    ],
    "kl-exploding": [
        made.ppo(ppo_kl=lambda i: 0.3 * i),  # far, but slowly
        made.ppo(ppo_kl=lambda i: 20.0 + 3 * (i % 2)),  # far from the start, and noisy
        made.ppo(ppo_kl=lambda i: 12.0 if 10 <= i < 14 else 0.5),  # has come back
    ],
    "over-optimisation": [
        made.ppo(gold_helpful=lambda i: 0.5 if i == 10 else 0.93),  # once is not enough
        made.ppo(gold_helpful=lambda i: 0.93 if i < 5 else 0.85, eval_score=lambda i: 0.2 * i),  # within chance
        made.ppo(gold_helpful=falling(0.93, 0.1, 3), eval_score=lambda i: -0.2 * i),  # the score falls as well
        made.ppo(gold_helpful=lambda i: 0.6 if i in (4, 5) else 0.93, eval_score=lambda i: 0.2 * i),  # it healed
    ],
    "length-hacking": [
        made.ppo(ppo_length=lambda i: 15.0 + 2 * i),  # gold grades rise with the length
        made.ungraded(ppo_length=lambda i: 15.0 + 2 * i, ppo_score_length_correlation=0.1),
        made.ungraded(ppo_length=lambda i: 15.0 + 0.5 * i),
    ],
    "no-eos": [made.ppo(ppo_ended=0.85), made.ppo(ppo_ended=0.75, counts={"ppo/ended": 8})],
    "value-loss-stuck": [
        made.ppo(train_value_loss=1.5),  # explains what there is
        made.ppo(ppo_explained_variance=0.0),  # the loss falls: returns vary less and less
        made.ppo(rounds=9, train_value_loss=1.5, ppo_explained_variance=0.0),  # too early to tell
    ],
    "entropy-collapse": [made.ppo(ppo_entropy=lambda i: max(0.015, 0.2 * 0.8**i)), made.ppo(ppo_entropy=1e-3)],
    "judge-at-chance": [
        made.judge(accuracy=0.65, prompts=10),  # few prompts: nothing is known
        made.judge(accuracy=0.52, cards=1),  # hardly begun
        made.judge(accuracy=0.58, prompts=2000),
    ],
    "judge-overconfident": [made.judge(confidence=0.95), made.judge(confidence=0.55)],
    "judge-length-biased": [made.judge(length_correlation=0.45), made.judge(length_correlation=0.7, prompts=10)],
    "empty-mask": [made.rows(), record_of([], {})],
    "duplicate-rows": [made.rows()],
    "leaking-prompts": [made.rows()],
}

HEALTHY = ["healthy-ppo", "healthy-ppo-short", "healthy-reward", "healthy-sft", "healthy-pretrain", "healthy-dpo"]
OVER = {"over-optimised-ppo": "gold/helpful", "over-optimised-dpo": "gold/helpful"}


def found(record: Record) -> list[str]:
    return [finding.name for finding in examine(record)]


def test_every_diagnosis_has_a_run_that_must_trigger_it_and_near_misses():
    assert [d.name for d in DIAGNOSES] == list(SICK) == list(NEAR)


@pytest.mark.parametrize("name", SICK)
def test_it_finds_the_run_that_has_it(name):
    assert found(SICK[name]) == [name]


@pytest.mark.parametrize(("name", "record"), [(name, record) for name in NEAR for record in NEAR[name]])
def test_it_leaves_near_misses_alone(name, record):
    assert name not in found(record)


def test_the_made_healthy_runs_are_healthy():
    assert found(made.ppo()) == found(made.ungraded()) == found(made.judge()) == found(made.rows()) == []


@pytest.mark.parametrize("name", HEALTHY)
def test_recorded_healthy_runs_have_no_findings_at_any_time(name):
    rows, counts = made.recorded(name)
    watch = Watch(counts, [])
    assert sum((watch.note(row) for row in rows), []) == []
    assert found(record_of(rows, counts)) == []


@pytest.mark.parametrize("name", OVER)
def test_recorded_over_optimised_runs(name):
    """ppo at kl.coef 0.1: helpful .955 to .835; dpo at beta 0.1: .93 to .70 (CONTRIBUTING tells of both)."""
    rows, counts = made.recorded(name)
    (finding,) = examine(record_of(rows, counts))
    assert finding.name == "over-optimisation" and OVER[name] in finding.seen.says
    graded = [row["gold/helpful"] for row in rows if "gold/helpful" in row]
    assert (finding.seen.numbers["best"], finding.seen.numbers["now"]) == (max(graded), graded[-1])


@pytest.mark.parametrize(
    ("name", "diagnosis", "step"), [("exploding-ppo", "kl-exploding", 6), ("endless-ppo", "no-eos", 3)]
)
def test_recorded_sick_runs(name, diagnosis, step):
    """optimizer.lr=0.004 with kl.coef=0.0001; sampling.max_new_tokens=6: told at the first evaluation that can know."""
    rows, counts = made.recorded(name)
    watch = Watch(counts, [])
    told = [(row["step"], finding.name) for row in rows for finding in watch.note(row)]
    assert told == [(step, diagnosis)]
    assert found(record_of(rows, counts)) == [diagnosis]


def test_a_held_out_score_that_falls_while_training_scores_rise():
    sick = made.ungraded(eval_score=lambda i: -1.0 if i < 5 else -2.0, ppo_score=lambda i: -1.5 + 0.05 * i)
    assert found(sick) == ["over-optimisation"]
    assert found(made.ungraded(eval_score=lambda i: -1.0 if i < 5 else -2.0, ppo_score=-1.0)) == []


def test_a_watch_tells_each_finding_once_and_one_at_an_evaluation():
    rows, counts = made.recorded("over-optimised-ppo")
    sicker = [{**row, "ppo/ended": 0.1, "ppo/kl": -1.0, "ppo/kl_se": 0.01} for row in rows]
    watch = Watch(counts, [])
    told = [[finding.name for finding in watch.note(row)] for row in sicker]
    assert max(map(len, told)) == 1
    assert sorted(sum(told, [])) == ["kl-negative", "no-eos", "over-optimisation"]


def test_a_watch_that_goes_on_tells_the_rest_and_nothing_twice():
    rows, counts = made.recorded("over-optimised-ppo")
    rows = [{**row, "ppo/ended": 0.1} for row in rows]
    counts |= {"data/eval": 10, "data/leaked": 9}
    whole = Watch({}, [])
    told = [whole.count(counts), *(whole.note(row) for row in rows)]
    for cut in range(1, len(rows)):
        again = Watch(counts, rows[:cut])
        assert again.count(counts) == []
        assert [again.note(row) for row in rows[cut:]] == told[1 + cut :]


def test_rows_that_count_wrong_are_told_before_the_first_step():
    watch = Watch({}, [])
    assert [finding.name for finding in watch.count({"data/train": 10, "data/repeated": 9})] == ["duplicate-rows"]
    assert watch.count({"gold/helpful": 20}) == []


@pytest.mark.parametrize("name", SICK)
def test_a_finding_has_numbers_and_goes_into_json(name):
    (finding,) = examine(SICK[name])
    plain = json.loads(json.dumps(finding.plain(), allow_nan=False))
    assert plain["name"] == name and plain["numbers"] and plain["try"] and plain["steps"][0] <= plain["steps"][1]
    assert str(finding).startswith(f"{name}: ") and "; try " in str(finding)


@pytest.mark.parametrize("seed", range(30))
def test_no_rows_make_a_diagnosis_fail(seed):
    """A diagnosis that raised would end a training run."""
    draws = random.Random(seed)
    names = list(made.recorded("healthy-ppo")[0][2]) + list(made.recorded("healthy-reward")[0][-1]) + list(made.COUNTS)
    usual = [0.0, 0.0, 1.0, 0.5, draws.random(), None, float("nan")]
    rows = [
        {"step": step, **{name: draws.choice(usual) for name in names if name != "step" and draws.random() < 0.8}}
        for step in range(draws.choice([1, 3, 12, 40]))
    ]
    counts = {name: draws.choice([0, 1, 3, 100]) for name in [*names, *made.rows().counts] if draws.random() < 0.8}
    assert isinstance(examine(record_of(rows, counts)), list)


def keys(kind: type, at: str = "") -> set[str]:
    """The dotted keys of a configuration."""
    own = set()
    for field in fields(kind):
        hint = get_type_hints(kind)[field.name]
        inner = (hint, *get_args(hint))
        own |= {f"{at}{field.name}"}.union(*(keys(t, f"{at}{field.name}.") for t in inner if is_dataclass(t)))
    return own


@pytest.mark.parametrize("diagnosis", DIAGNOSES, ids=lambda d: d.name)
def test_what_to_try_are_keys_of_the_configuration(diagnosis):
    known = set().union(
        *(keys(getattr(schema, name)) for name in ("PPO", "DPO", "Reward", "SFT", "Sample", "Pipeline"))
    )
    named = set(re.findall(r"([a-z_]+(?:\.[a-z_]+)*)=", diagnosis.advice))
    assert named <= known


def test_the_docs_have_every_diagnosis():
    assert re.findall(r"^\| `([a-z-]+)`", DOCS.read_text(encoding="utf-8"), re.MULTILINE) == [d.name for d in DIAGNOSES]
