"""The loop: cadence, rollback, limits, saving."""

import errno
import json
import math
from pathlib import Path

import pytest
import torch
from fakes import Fake, flat, optimizer, plan

from llmtrain.errors import CheckpointError, TrainingError
from llmtrain.launch.mesh import Mesh
from llmtrain.loop.fit import fit
from llmtrain.loop.learner import Rate
from llmtrain.loop.stopping import TargetReached
from llmtrain.run import metrics

GOOD, BAD = [[torch.tensor([1.0, 2.0])]], [[torch.tensor([math.nan])]]


def steps(run: Path) -> list[int]:
    return sorted(int(p.name.removeprefix("step-")) for p in (run / "checkpoints").glob("step-*"))


def rows(run: Path, key: str) -> dict[int, float]:
    return {row["step"]: row[key] for row in metrics.read(run / "metrics.jsonl") if key in row}


def test_all_steps_done_is_finished_with_the_last_evaluation(opened, tmp_path):
    fake = Fake()
    outcome = fit(fake, optimizer(fake), flat, opened(keep_last=9), plan(max_steps=5))
    assert (outcome.status, outcome.step, outcome.values) == ("finished", 5, {"eval/score": 5.0})
    assert fake.rounds == [0, 1, 2, 3, 4]
    assert steps(tmp_path) == [2, 4, 5]  # every second, and the last
    assert list(rows(tmp_path, "eval/score")) == [2, 4, 5]
    assert list(rows(tmp_path, "train/loss")) == [1, 2, 3, 4, 5]
    assert rows(tmp_path, "train/loss")[1] == 1.5  # mean of 1 and 2


def test_F34_rate_of_each_step_is_the_one_of_its_index(opened, tmp_path):
    """Warm-up of two steps, then linear to 0 at step 6, written out by hand; several updates a round change nothing."""
    factors = [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    fake = Fake(lambda step: GOOD * 3)
    fit(fake, optimizer(fake, lr=0.2), lambda step: factors[step], opened(), plan())
    assert list(rows(tmp_path, "train/lr").values()) == pytest.approx([0.2 * f for f in factors])


def test_skipped_update_leaves_the_weights_and_training_goes_on(opened, tmp_path):
    fake = Fake(lambda step: BAD if step == 2 else GOOD)
    fit(fake, optimizer(fake), flat, opened(), plan())
    assert torch.equal(fake.before[2], fake.before[3])
    assert not torch.equal(fake.before[3], fake.before[4])
    assert rows(tmp_path, "train/skipped") == {1: 0, 2: 0, 3: 1, 4: 0, 5: 0, 6: 0}


def test_too_many_skips_in_a_row_take_the_saved_weights_back(opened):
    fake = Fake(lambda step: BAD if step in (3, 4, 5) else GOOD)
    fit(fake, optimizer(fake), flat, opened(), plan(max_steps=8, save_every=2, max_skipped=2))
    assert not torch.equal(fake.before[3], fake.before[2])
    # saved at step 2 and (unchanged since step 3) at 4; three bad updates, then the weights of step 4's checkpoint
    assert torch.equal(fake.before[6], fake.before[4])
    assert not torch.equal(fake.before[7], fake.before[6])


def test_numbers_that_stay_bad_after_the_rollback_end_the_run(opened):
    fake = Fake(lambda step: GOOD if step < 2 else BAD)
    with pytest.raises(TrainingError, match="step 8.*not finite.*optimizer.lr"):
        fit(fake, optimizer(fake), flat, opened(), plan(max_steps=50, max_skipped=2))
    assert fake.rounds[-1] == 7  # three skips, rollback, three skips


def test_bad_numbers_before_any_checkpoint_end_the_run(opened):
    fake = Fake(lambda step: BAD)
    with pytest.raises(TrainingError, match="step 3"):
        fit(fake, optimizer(fake), flat, opened(), plan(save_every=100, eval_every=100, max_skipped=2))


def test_no_time_left_stops_saves_and_says_so(opened, tmp_path):
    fake = Fake()
    outcome = fit(fake, optimizer(fake), flat, opened(), plan(max_seconds=0.0, save_every=100))
    assert (outcome.status, outcome.step) == ("stopped", 1)
    assert "max_time" in outcome.reason
    assert steps(tmp_path) == [1]


def test_run_that_ran_out_of_time_goes_on_when_asked_again(opened):
    fake = Fake()
    fit(fake, optimizer(fake), flat, opened(), plan(max_seconds=0.0))
    again = Fake()
    outcome = fit(again, optimizer(again), flat, opened(), plan())
    assert (outcome.status, again.rounds) == ("finished", [1, 2, 3, 4, 5])


def test_target_with_patience_stops_the_run(opened, tmp_path):
    scores = {2: 0.95, 4: 0.5, 6: 0.95, 8: 0.96, 10: 1.0}
    fake = Fake(scores=lambda step: {"eval/score": scores[step]})
    stop = TargetReached("eval/score", 0.9, 0.95, patience=2, min_steps=0)
    outcome = fit(fake, optimizer(fake), flat, opened(), plan(max_steps=10), stop)
    assert (outcome.status, outcome.step) == ("stopped", 8)
    assert "target reached: eval/score" in outcome.reason
    assert steps(tmp_path)[-1] == 8


def test_hits_of_the_target_survive_a_restart(opened):
    fake = Fake(scores=lambda step: {"eval/score": Rate(100, 100)})
    target = {"metric": "eval/score", "threshold": 0.9, "confidence": 0.95, "patience": 3, "min_steps": 0}
    fit(fake, optimizer(fake), flat, opened(), plan(max_steps=4), TargetReached(**target))  # two hits
    again = Fake(scores=lambda step: {"eval/score": Rate(100, 100)})
    outcome = fit(again, optimizer(again), flat, opened(), plan(max_steps=20), TargetReached(**target))
    assert (outcome.status, outcome.step) == ("stopped", 6)


def test_learner_may_end_the_run(opened):
    fake = Fake()
    fake.reason = "KL budget used up"
    outcome = fit(fake, optimizer(fake), flat, opened(), plan())
    assert (outcome.status, outcome.reason, outcome.step) == ("stopped", "KL budget used up", 1)


def test_finished_run_asked_again_computes_nothing(opened):
    fake = Fake()
    first = fit(fake, optimizer(fake), flat, opened(), plan())
    again = Fake()
    assert fit(again, optimizer(again), flat, opened(), plan()) == first
    assert again.rounds == []
    assert torch.equal(again.module["w"], fake.module["w"])


class Full(Fake):
    """A disk without room for the checkpoints of some saves."""

    def __init__(self, full: set[int]):
        super().__init__()
        self.full, self.saves = full, 0

    def save(self, path: Path) -> None:
        self.saves += 1
        if self.saves in self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().save(path)


def test_full_disk_on_the_way_costs_a_checkpoint_not_the_run(opened, tmp_path):
    fake = Full({2})
    outcome = fit(fake, optimizer(fake), flat, opened(keep_last=9), plan())
    assert (outcome.status, outcome.step) == ("finished", 6)
    assert steps(tmp_path) == [2, 6]
    assert not list((tmp_path / "checkpoints").glob(".tmp*"))


def test_full_disk_at_the_end_is_an_error_that_keeps_the_older_checkpoint(opened, tmp_path):
    fake = Full({3})
    with pytest.raises(CheckpointError, match="step 6.*No space left"):
        fit(fake, optimizer(fake), flat, opened(keep_last=9), plan())
    assert steps(tmp_path) == [2, 4]


@pytest.mark.parametrize(("higher", "best"), [(True, 4), (False, 2)])
def test_best_checkpoint_by_its_metric_is_kept_and_pointed_at(opened, tmp_path, higher, best):
    scores = {2: 0.1, 4: 0.9, 6: 0.5, 8: 0.4}
    fake = Fake(scores=lambda step: {"eval/score": scores[step]})
    session = opened(keep_last=1, keep_best=1, higher_is_better=higher)
    fit(fake, optimizer(fake), flat, session, plan(max_steps=8, higher_is_better=higher))
    assert steps(tmp_path) == [best, 8]
    assert (tmp_path / "checkpoints" / "best").resolve().name == f"step-{best:08d}"
    assert (tmp_path / "checkpoints" / "latest").resolve().name == "step-00000008"


def test_outcome_tells_of_the_weights_that_the_next_stage_takes(opened):
    """The best checkpoint's numbers, not the last one's; in a new life of the run too. Of equals the newer."""
    scores = {2: 0.9, 4: 0.9, 6: 0.5, 8: 0.4}
    measured = {"scores": lambda step: {"eval/score": scores[step]}}
    fake = Fake(**measured)
    outcome = fit(fake, optimizer(fake), flat, opened(keep_last=1, keep_best=1), plan(max_steps=6))
    assert (outcome.step, outcome.kept, outcome.values) == (6, 4, {"eval/score": 0.9})
    again = Fake(**measured)
    outcome = fit(again, optimizer(again), flat, opened(keep_last=1, keep_best=1), plan(max_steps=8))
    assert (outcome.step, outcome.kept, outcome.values) == (8, 4, {"eval/score": 0.9})


def test_step_beyond_the_learner_s_own_limit_is_never_the_best(opened, tmp_path):
    class Bounded(Fake):
        def finished(self) -> str | None:
            return "KL budget used up" if len(self.rounds) == 4 else None

    fake = Bounded(scores=lambda step: {"eval/score": float(step)})
    outcome = fit(fake, optimizer(fake), flat, opened(keep_best=1), plan())
    assert (outcome.status, outcome.step, outcome.kept) == ("stopped", 4, 2)
    assert (tmp_path / "checkpoints" / "best").resolve().name == "step-00000002"


def test_F11_round_with_another_number_of_updates_than_due_is_an_error(opened):
    class Short(Fake):
        def due(self) -> int | None:
            return 3

    fake = Short(lambda step: GOOD * 2)
    with pytest.raises(TrainingError, match="step 1: 2 optimizer steps instead of 3"):
        fit(fake, optimizer(fake), flat, opened(), plan())


def test_skips_count_as_in_a_row_only_without_a_good_update_between(opened, tmp_path):
    fake = Fake(lambda step: [*BAD, *GOOD, *BAD])
    outcome = fit(fake, optimizer(fake), flat, opened(), plan(max_skipped=2))
    assert outcome.status == "finished" and set(rows(tmp_path, "train/skipped").values()) == {2}


def test_evaluation_of_the_first_model_is_step_0(opened, tmp_path):
    fake = Fake()
    fit(fake, optimizer(fake), flat, opened(), plan(evaluate_first=True))
    assert list(rows(tmp_path, "eval/score")) == [0, 2, 4, 6]


def test_checkpoint_state_is_plain_json(opened, tmp_path):
    fake = Fake()
    fit(fake, optimizer(fake), flat, opened(), plan())
    saved = json.loads((tmp_path / "checkpoints" / "latest" / "trainer.json").read_text())
    assert saved["skipped"] == 0 and saved["reason"] is None and saved["learner"] == {}


class Slow(Mesh):
    """Two processes, of which the other one's clock has run out; nobody got a signal."""

    def any(self, flag: int | None) -> int | None:
        asked.append(flag)
        return 1 if len(asked) % 2 == 0 else flag  # the poll comes first, then the clock


asked: list[int | None] = []


def test_processes_stop_together_when_the_clock_of_one_runs_out(opened):
    asked.clear()
    fake, session = Fake(), opened()
    session.mesh = Slow(0, 1, torch.device("cpu"), torch.float32)
    outcome = fit(fake, optimizer(fake), flat, session, plan(max_seconds=3600.0))
    assert (outcome.status, outcome.step) == ("stopped", 1)
