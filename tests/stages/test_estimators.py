"""ppo with every estimator: what is sampled, learnt from, trained and kept; and none of a critic without GAE."""

import json
from collections.abc import Callable

import pytest
import tiny
import torch
from safetensors.torch import load_file

from llmtrain.config import paths
from llmtrain.loop.fit import Outcome
from llmtrain.models import scalar
from llmtrain.run import metrics
from llmtrain.stages import ppo

WITHOUT = [name for name in paths.groups()["advantage"] if name != "gae"]


def changes(chain: tiny.Chain, name: str, answers: int = 4, **more) -> dict:
    own = {"choose": {"advantage": name}, "advantage": {"answers": answers}, "max_steps": 2}
    return tiny.merged(chain.links("ppo"), own, more)


@pytest.fixture
def learner(chain, runs, monkeypatch) -> Callable[..., ppo.Alignment]:
    """The stage's learner, before its first round."""

    def get(name: str, **more) -> ppo.Alignment:
        kept: list[ppo.Alignment] = []

        def fit(learner, *_):
            kept.append(learner)
            return Outcome("finished", "not trained", 0, 0, {})

        monkeypatch.setattr(ppo, "fit", fit)
        tiny.ran("ppo", runs, **changes(chain, name, **more))
        return kept[0]

    return get


@pytest.mark.parametrize("name", WITHOUT)
def test_no_critic_is_built_trained_or_kept(name, chain, runs, monkeypatch):
    built = []
    load = scalar.load
    monkeypatch.setattr(scalar, "load", lambda *a, **k: built.append("loaded") or load(*a, **k))
    monkeypatch.setattr(scalar, "from_causal", lambda *a, **k: built.append("made"))
    run = tiny.ran("ppo", runs, **changes(chain, name))
    assert built == ["loaded"]  # the judge
    kept = load_file(run / "checkpoints" / "latest" / "trainer.safetensors")
    assert kept and all(key.startswith("optimizer.") and ".policy." in key for key in kept)
    rows = metrics.read(run / "metrics.jsonl")
    assert {"train/policy_loss", "ppo/kl", "ppo/score"} <= rows[-1].keys() | rows[-2].keys()
    assert not {"train/value_loss", "ppo/explained_variance"} & {key for row in rows for key in row}
    assert json.loads((run / "result.json").read_text())["status"] == "finished"


def test_gae_keeps_its_critic(chain, runs):
    run = tiny.ran("ppo", runs, **changes(chain, "gae", answers=2))
    kept = load_file(run / "checkpoints" / "latest" / "trainer.safetensors")
    assert any(key.startswith("trained.critic.") for key in kept)
    assert any(key.startswith("optimizer.exp_avg.critic.") for key in kept)


def test_the_answers_to_a_prompt_stand_side_by_side_and_are_drawn_apart(learner):
    found = learner("rloo")
    rollout = found.roll_out(0)
    assert len(rollout) == 8
    prompts = [tuple(ids) for ids in rollout.prompts]
    assert prompts == [prompts[0]] * 4 + [prompts[4]] * 4 and prompts[0] != prompts[4]
    for group in (rollout.responses[:4], rollout.responses[4:]):
        assert len(set(map(tuple, group))) > 1
    again, other = found.roll_out(0), found.roll_out(1)
    assert again.responses == rollout.responses  # a function of (seed, step)
    assert other.responses != rollout.responses


def test_an_epoch_gives_every_prompt_its_answers(learner):
    """24 prompts in steps of two, four answers each."""
    found = learner("rloo")
    assert found.order.steps_per_epoch == 12
    seen = [i for step in range(12) for i in found.order.at(step)[1]]
    assert sorted(seen) == list(range(24))


def test_rloo_learns_from_score_and_kl_of_whole_answers(learner):
    """By hand: each answer's score minus its KL, against the mean of the three others."""
    found = learner("rloo", kl={"coef": 0.5})
    rollout = found.roll_out(0)
    with torch.no_grad():
        rollout.ref_logp[rollout.mask] -= 0.25
    learnt = found.learn_from(rollout)
    worth = [float(s) - 0.5 * 0.25 * len(r) for s, r in zip(rollout.scores, rollout.responses, strict=True)]
    for b in range(8):
        group = worth[b // 4 * 4 : b // 4 * 4 + 4]
        wanted = worth[b] - (sum(group) - worth[b]) / 3
        got = learnt.advantages[b][learnt.mask[b]].tolist()
        assert got == pytest.approx([wanted] * len(got), abs=1e-5)
    assert learnt.values is None and learnt.returns is None


@pytest.mark.parametrize("name", ["reinforce_pp", "grpo"])
def test_F1_first_minibatch_has_ratio_1(name, learner):
    found = learner(name)
    window = next(found.round(0))
    losses = [found.loss(batch) for batch in window]
    n = sum(batch.items for batch in window)
    assert sum(part.metrics["ratio"][0] for part in losses) / n == pytest.approx(1.0, abs=1e-5)
    mean = sum(float(batch.advantages.sum()) for batch in window) / n
    assert sum(part.metrics["policy_loss"][0] for part in losses) / n == pytest.approx(-mean, abs=1e-5)
