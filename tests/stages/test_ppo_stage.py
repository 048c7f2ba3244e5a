"""ppo: the real stage, and its reasons to stop. The invariants of its rounds: tests/invariants."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from llmtrain.errors import InitError
from llmtrain.loop import fit as loop
from llmtrain.loop.fit import Outcome
from llmtrain.objectives import experience
from llmtrain.run import metrics
from llmtrain.stages import heldout, ppo


@pytest.fixture
def learner(chain, runs, monkeypatch) -> Callable[..., ppo.Alignment]:
    """The stage's learner, before its first round."""

    def get(**changes) -> ppo.Alignment:
        kept: list[ppo.Alignment] = []

        def fit(learner, *_):
            kept.append(learner)
            return Outcome("finished", "not trained", 0, 0, {})

        monkeypatch.setattr(ppo, "fit", fit)
        tiny.ran("ppo", runs, **tiny.merged(chain.links("ppo"), changes))
        return kept[0]

    return get


def learnt(learner: ppo.Alignment, step: int = 0) -> experience.Experience:
    rollout = learner.roll_out(step)
    return experience.learn_from(rollout, "gae", kl_coef=0.1, gamma=1.0, lam=0.95, whiten=True)


def test_F1_disagreement_of_sampling_and_training_is_an_error(learner):
    found = learner()
    window = next(found.round(0))
    with torch.no_grad():
        found.model.get_output_embeddings().weight.mul_(1.5)
    with pytest.raises(Exception, match="first minibatch.*instead of 0"):
        for batch in window:
            found.loss(batch)


def test_F3_policy_that_is_the_reference_has_kl_exactly_0(learner):
    found = learner()
    rollout = found.roll_out(0)
    assert torch.equal(rollout.old_logp, rollout.ref_logp)
    rewards = experience.learn_from(rollout, "gae", kl_coef=5.0, gamma=1.0, lam=1.0, whiten=False).rewards
    for row, mask, score in zip(rewards, rollout.mask, rollout.scores, strict=True):
        assert row[mask][:-1].tolist() == [0.0] * (int(mask.sum()) - 1)
        assert float(row[mask][-1]) == float(score)
    next(found.round(0))
    assert found.metrics()["ppo/kl"] == 0.0


def test_sequences_alone_lose_the_same_as_packed_together(learner):
    found = learner()
    whole = learnt(found)
    found.moved, found.ratio_max = {"kl": 0.0, "tokens": 0.0}, 0.0
    together = found.loss(found._token_batch(whole, False))
    alone = [found.loss(found._token_batch(whole.rows([i]), False)) for i in range(len(whole))]
    assert float(together.total) == pytest.approx(sum(float(part.total) for part in alone), rel=1e-5, abs=1e-5)
    gradients = []
    for total in (together.total, sum(part.total for part in alone)):
        found.trained.zero_grad()
        total.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in found.trained.parameters() if p.grad is not None]))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_F33_first_minibatch_has_ratio_1_in_bfloat16_too(learner):
    """The rollout's forward runs in the very micro-batches of the first pass; others differ by more than the bound."""
    found = learner(launch={"dtype": "bfloat16"}, batch={"rows": 8, "micro_tokens": 64})
    window = next(found.round(0))
    assert len(window) > 1
    for batch in window:
        sums = found.loss(batch).metrics
        assert sums["ratio"][0] / batch.items == pytest.approx(1.0, abs=1e-6)
    assert 0 < found.sampler_gap < 0.05


@pytest.mark.parametrize(
    ("rows", "batch", "minibatches", "expected"),
    [(24, 8, 2, 16), (24, 8, 4, 32), (20, 8, 2, 16), (18, 16, 4, 20)],
    ids=["even", "four", "short last batch", "last batch smaller than the minibatches"],
)
def test_F11_optimizer_steps_are_epochs_times_minibatches(rows, batch, minibatches, expected, chain, runs, monkeypatch):
    """Four steps of two passes; the last case's 17 prompts end each epoch with one answer, and so one minibatch."""
    count = 0

    def counted(*args):
        nonlocal count
        count += 1
        return update(*args)

    update = loop.update
    monkeypatch.setattr(loop, "update", counted)
    changes = {
        "data": {"rows": rows},
        "batch": {"rows": batch},
        "minibatches": minibatches,
        "ppo_epochs": 2,
        "optimizer": {"lr": 0.0},
    }
    run = tiny.ran("ppo", runs, **tiny.merged(chain.links("ppo"), changes))
    assert json.loads((run / "result.json").read_text())["step"] == 4
    assert count == expected


def test_target_kl_ends_the_passes_of_a_rollout(chain, runs, monkeypatch):
    changes = {"target_kl": 1e-9, "ppo_epochs": 3, "minibatches": 2, "max_steps": 2, "optimizer": {"lr": 1e-3}}
    count = 0

    def counted(*args):
        nonlocal count
        count += 1
        return update(*args)

    update = loop.update
    monkeypatch.setattr(loop, "update", counted)
    tiny.ran("ppo", runs, **tiny.merged(chain.links("ppo"), changes))
    assert count == 4  # one pass of two minibatches in each of the two steps


def test_run_leaves_its_records(chain, runs):
    run = tiny.ran("ppo", runs, **chain.links("ppo"))
    result = json.loads((run / "result.json").read_text())
    assert (result["status"], result["step"], result["headline"]) == ("finished", 4, "eval/score")
    rows = metrics.read(run / "metrics.jsonl")
    found = {key for row in rows for key in row}
    assert {"ppo/score", "ppo/kl", "ppo/kl_coef", "ppo/length", "ppo/explained_variance", "train/clipfrac"} <= found
    assert {"eval/score", "eval/win_rate", "gold/helpful", "gold/honest", "gold/harmless", "gold/min"} <= found
    assert rows[0]["step"] == 0 and rows[0]["eval/win_rate"] == 0.5  # the reference against itself, ties half
    lineage = json.loads((run / "lineage.json").read_text())
    assert set(lineage["parents"]) == {"init", "reference", "judge"}
    assert sorted(f.name for f in (run / "samples").iterdir()) == [f"step-{n:08d}.jsonl" for n in (0, 2, 4)]


def test_shared_trunk_exports_the_policy_alone(chain, runs):
    run = tiny.ran("ppo", runs, **tiny.merged(chain.links("ppo"), {"advantage": {"critic": "shared"}}))
    _, found = AutoModelForCausalLM.from_pretrained(run / "checkpoints" / "latest", output_loading_info=True)
    assert not found["missing_keys"] and not found["unexpected_keys"]
    kept = load_file(run / "checkpoints" / "latest" / "trainer.safetensors")
    assert {name for name in kept if name.startswith("trained.")} == {"trained.critic.weight", "trained.critic.bias"}
    assert float(kept["trained.critic.weight"].abs().max()) > 0
    rows = metrics.read(run / "metrics.jsonl")
    assert all(row["train/value_loss"] > 0 for row in rows if "train/value_loss" in row)


def test_reference_is_not_asked_again_what_the_policy_just_said(chain, runs, monkeypatch):
    asked = []
    complete = heldout.complete
    monkeypatch.setattr(
        heldout, "complete", lambda model, *args, **more: asked.append(1) or complete(model, *args, **more)
    )
    links = chain.links("ppo")
    run = tiny.ran("ppo", runs, **links)
    assert len(asked) == 3  # at the steps 0, 2, 4; the reference is where the policy begins
    other = tiny.ran("ppo", runs, **tiny.merged(links, {"reference": str(run), "max_steps": 2}))
    assert len(asked) == 3 + 3  # steps 0 and 2, and the reference
    assert metrics.read(other / "metrics.jsonl")[0]["eval/win_rate"] >= 0


def test_seconds_of_a_round_are_told_by_phase(chain, runs):
    run = tiny.ran("ppo", runs, **chain.links("ppo"))
    rows = [row for row in metrics.read(run / "metrics.jsonl") if "time/step_seconds" in row]
    for row in rows:
        parts = [row[f"time/{name}_seconds"] for name in ("rollout", "judge", "score", "update")]
        assert min(parts) > 0
        assert sum(parts) == pytest.approx(row["time/step_seconds"], rel=0.2)


def test_kl_budget_ends_the_run_and_says_so(chain, runs):
    changes = {"kl": {"cap": 1e-6}, "max_steps": 12, "optimizer": {"lr": 5e-3}}
    run = tiny.ran("ppo", runs, **tiny.merged(chain.links("ppo"), changes))
    result = json.loads((run / "result.json").read_text())
    assert result["status"] == "stopped" and "KL budget used up" in result["reason"] and "kl.cap" in result["reason"]
    assert 1 < result["step"] < 12  # the first rollout has no KL


def test_reached_target_ends_the_run_and_says_so(chain, runs):
    stop = {"metric": "eval/win_rate", "threshold": 0.0, "patience": 1, "min_steps": 1}
    run = tiny.ran("ppo", runs, **tiny.merged(chain.links("ppo"), {"stop": stop}))
    result = json.loads((run / "result.json").read_text())
    assert (result["status"], result["step"]) == ("stopped", 2)
    assert "target reached: eval/win_rate" in result["reason"]
    assert result["headline"] == "eval/win_rate"


def failed_judge(chain: tiny.Chain, runs: Path) -> Path:
    judge = runs / "reward" / "t" / chain.reward.name
    shutil.copytree(chain.reward, judge, symlinks=True)
    (judge / "probes.json").write_text(json.dumps({"threshold": 0.8, "failed": ["probe/harm/typical"]}))
    return judge


def test_judge_that_failed_its_probes_is_refused(chain, runs):
    judge = failed_judge(chain, runs)
    with pytest.raises(InitError, match="probe/harm/typical.*require_probes"):
        tiny.ran("ppo", runs, init=str(chain.sft), judge={"init": str(judge)})


def test_judge_that_failed_its_probes_may_be_forced(chain, runs):
    judge = failed_judge(chain, runs)
    run = tiny.ran("ppo", runs, init=str(chain.sft), judge={"init": str(judge), "require_probes": False}, max_steps=1)
    assert json.loads((run / "result.json").read_text())["step"] == 1


def test_judge_with_another_tokenizer_is_refused(chain, runs, tmp_path):
    other = tiny.ran("pretrain", runs, tokenizer={"vocab_size": 310}, max_steps=1)
    judge = tiny.ran("reward", runs, init=str(other), data={"path": [str(chain.rankings)]}, max_steps=1)
    with pytest.raises(InitError, match="tokenizer is not the policy's"):
        tiny.ran("ppo", runs, init=str(chain.sft), judge={"init": str(judge)})


def test_answers_that_do_not_end_get_the_score_for_that(learner):
    found = learner(judge={"missing_eos": "replace", "missing_eos_score": -7.0}, sampling={"max_new_tokens": 1})
    rollout = found.roll_out(0)
    assert not rollout.ended.all()
    assert (rollout.scores[~rollout.ended] == -7.0).all()
