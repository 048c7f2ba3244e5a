"""reward and dpo: what they leave, and that they learn rankings."""

import json
import math
from pathlib import Path

import pytest
import tiny
import torch

from llmtrain.errors import InitError
from llmtrain.models import scalar
from llmtrain.objectives.ranking import kway_loss
from llmtrain.run import metrics
from llmtrain.stages import dpo, examination, reward

CPU = torch.device("cpu")


def newest(run: Path) -> Path:
    return run / "checkpoints" / "latest"


def first(run: Path, key: str) -> float:
    return next(row[key] for row in metrics.read(run / "metrics.jsonl") if key in row)


def separable(path: Path) -> Path:
    """Good answers say yes, bad ones no."""
    words = "red blue green yellow brown white black grey".split()
    rows = [
        {"prompt": f"Is {a} like {b}?", "responses": [f"no, {b}.", f"yes, {a}."], "ranks": [2, 1]}
        for a in words
        for b in words
        if a != b
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_F25_reward_model_learns_separable_ranks(chain, runs, tmp_path):
    data = {"path": [str(separable(tmp_path / "toy.jsonl"))], "rows": None, "eval_fraction": 0.2, "eval_rows": 20}
    run = tiny.ran(
        "reward",
        runs,
        init=str(chain.sft),
        data=data,
        max_steps=60,
        optimizer={"lr": 5e-3},
        loop={"eval_every": 60, "save_every": 60},
    )
    result = json.loads((run / "result.json").read_text())
    assert result["metrics"]["eval/accuracy"] == 1.0
    assert result["metrics"]["eval/log_loss"] < 0.1
    assert result["headline"] == "eval/accuracy"


def test_reward_model_gives_its_demonstrations_mean_zero(chain, runs, monkeypatch):
    """Correctness B6, with the saved checkpoint and the best answers of the training rows."""
    kept: list[reward.Judging] = []
    monkeypatch.setattr(reward, "Judging", lambda *args: kept.append(Judging(*args)) or kept[0])
    run = tiny.ran("reward", runs, **chain.links("reward"))
    learner, saved = kept[0], scalar.load(newest(run), device=CPU)
    best = [saved.scores(b.packed)[b.ranks == 1] for b in learner.rankings.batches(learner.split.train)]
    assert float(torch.cat(best).mean()) == pytest.approx(0.0, abs=1e-4)
    assert abs(float(saved.bias)) > 1e-3  # it had to be moved


Judging = reward.Judging


@pytest.mark.parametrize(("tie", "weight"), [("half", 1.0), ("drop", 0.0)])
def test_F36_a_tied_prompt_weighs_as_much_as_the_loss_counts_it(tie, weight, chain, runs, monkeypatch):
    """The divisor is the number of prompts in the sum; without the tied one the gradient would be too large."""
    kept: list[reward.Judging] = []
    monkeypatch.setattr(reward, "Judging", lambda *args: kept.append(Judging(*args)) or kept[0])
    tiny.ran("reward", runs, **chain.links("reward"), tie=tie, max_steps=1)
    scores, group, ranks = torch.tensor([0.3, 0.1]), torch.tensor([0, 0]), torch.tensor([1.0, 1.0])
    assert kept[0]._counts(ranks.numpy()) == kway_loss(scores, group, ranks, tie=tie)[1] == weight


def test_report_card_has_its_intervals(chain, runs):
    run = tiny.ran("reward", runs, **chain.links("reward"))
    result = json.loads((run / "result.json").read_text())
    assert {"eval/accuracy", "eval/log_loss", "eval/brier", "eval/ece", "eval/length_correlation"} <= set(
        result["metrics"]
    )
    low, high = result["intervals"]["eval/accuracy"]["interval"]
    assert 0 <= low <= result["metrics"]["eval/accuracy"] <= high <= 1
    assert result["metrics"]["eval/best_sd"] > 0
    files = sorted((run / "reliability").iterdir())
    assert [file.name for file in files] == [f"step-{step:08d}.json" for step in (2, 4, 6)]
    record = json.loads(files[-1].read_text())["judge"]
    assert sum(b["n"] for b in record["bins"]) == result["intervals"]["eval/accuracy"]["n"]


def test_probes_examine_the_judge_and_name_what_it_fails(chain, runs, monkeypatch):
    monkeypatch.setattr(examination, "PROBES", 2)
    changes = tiny.merged(chain.links("reward"), {"data": {"world": 0}, "max_steps": 1, "probe_threshold": 1.0})
    run = tiny.ran("reward", runs, **changes)
    result = json.loads((run / "result.json").read_text())
    record = json.loads((run / "probes.json").read_text())
    below = sorted(n for n, v in result["metrics"].items() if n.startswith("probe/") and v < 1.0)
    assert record["failed"] == result["probes_failed"] == below
    assert below and all(len(name.split("/")) == 3 for name in below)


def test_F22_dpo_starts_at_ln_2_with_rewards_0(chain, runs):
    run = tiny.ran("dpo", runs, **chain.links("dpo"))
    assert first(run, "train/loss") == pytest.approx(math.log(2), abs=1e-6)
    assert first(run, "train/accuracy") == 0.5  # ties count half
    assert first(run, "train/reward_chosen") == pytest.approx(0.0, abs=1e-6)
    assert first(run, "train/reward_rejected") == pytest.approx(0.0, abs=1e-6)


def test_F22_cached_reference_equals_a_fresh_one(chain, runs, monkeypatch):
    kept: list[dpo.Preferences] = []
    monkeypatch.setattr(dpo, "Preferences", lambda *args: kept.append(Preferences(*args)) or kept[0])
    tiny.ran("dpo", runs, **tiny.merged(chain.links("dpo"), {"optimizer": {"lr": 0.0}, "max_steps": 1}))
    learner = kept[0]  # with lr 0 the policy still is the reference
    for batch in learner.rankings.batches([5, 2, 9]):  # another grouping than the cache was made with
        fresh = dpo._sums(learner.model, batch)
        torch.testing.assert_close(fresh, learner.reference[batch.rows], rtol=0, atol=1e-5)


Preferences = dpo.Preferences


def test_dpo_learns_the_rankings(chain, runs, tmp_path):
    data = {"path": [str(separable(tmp_path / "toy.jsonl"))], "rows": None, "eval_fraction": 0.2}
    changes = {"optimizer": {"lr": 2e-3}, "max_steps": 30, "loop": {"eval_every": 30, "save_every": 30}}
    run = tiny.ran("dpo", runs, **tiny.merged(chain.links("dpo"), {"data": data}, changes))
    result = json.loads((run / "result.json").read_text())
    assert result["metrics"]["eval/accuracy"] == 1.0
    assert result["metrics"]["eval/loss"] < 0.5


@pytest.mark.parametrize("stage", ["reward", "dpo"])
def test_micro_batches_do_not_change_the_model(stage, chain, runs):
    changes = {"optimizer": {"lr": 1e-4}, "max_steps": 3}
    saved = []
    for tokens in (8192, 300):
        run = tiny.ran(stage, runs, **tiny.merged(chain.links(stage), changes, {"batch": {"micro_tokens": tokens}}))
        saved.append([row["train/loss"] for row in metrics.read(run / "metrics.jsonl") if "train/loss" in row])
    assert saved[0] == pytest.approx(saved[1], abs=1e-4)


def test_policy_is_no_judge_and_a_judge_no_policy(chain, runs):
    with pytest.raises(InitError, match="reward"):
        tiny.ran("sft", runs, init=str(chain.reward))
    with pytest.raises(InitError, match="reward"):
        tiny.ran("ppo", runs, init=str(chain.sft), judge={"init": str(chain.sft)})
