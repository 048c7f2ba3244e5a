"""Invariants of PPO's rounds, on the stage's own learner."""

import numpy as np
import pytest
import torch
from torch import Tensor

from llmtrain.config.choices import CriticName, KLName
from llmtrain.launch.mesh import Mesh
from llmtrain.loop.update import Totals, update
from llmtrain.models import causal
from llmtrain.models.lora import Adapters
from llmtrain.models.scalar import Head
from llmtrain.objectives.experience import Experience
from llmtrain.stages import ppo, setup
from tests.invariants import lab
from tests.loop.fakes import Kept, OneOfTwo

both = pytest.mark.parametrize("architecture", lab.ARCHITECTURES)


def sums(learner: ppo.Alignment, window: list[ppo.LearntBatch]) -> dict[str, float]:
    """The metrics of a minibatch, each divided by its tokens."""
    parts = [learner.loss(batch).metrics for batch in window]
    n = sum(batch.items for batch in window)
    return {name: sum(part[name][0] for part in parts) / n for name in parts[0]}


@both
def test_F1_first_minibatch_has_ratio_1_no_kl_and_clips_nothing(architecture):
    learner = lab.alignment(lab.model(architecture), sampling={"temperature": 0.7})
    learner.trained.train()
    window = next(learner.round(0))
    assert len(window) > 1
    found, n = sums(learner, window), sum(batch.items for batch in window)
    assert found["ratio"] == pytest.approx(1.0, abs=1e-6)
    assert found["kl_k1"] == pytest.approx(0.0, abs=1e-6) and found["kl_k3"] == pytest.approx(0.0, abs=1e-8)
    assert found["clipfrac"] == 0
    assert found["policy_loss"] == pytest.approx(-sum(float(b.advantages.sum()) for b in window) / n, abs=1e-5)


@both
@pytest.mark.parametrize("answers", [1, 2])
def test_F2_without_a_learning_rate_the_ratio_stays_1_in_every_minibatch(architecture, answers):
    """The answers to a prompt share it in every pass."""
    advantage = {"critic_lr": 0.0, "answers": answers}
    changes = {"optimizer": {"lr": 0.0}, "advantage": advantage, "ppo_epochs": 3, "minibatches": 4}
    learner = lab.alignment(lab.model(architecture), **changes)
    optimizer, seen = setup.optimizer_of(learner.config, learner.trained, {"critic.": 0.0}), 0
    learner.trained.train()
    for window in learner.round(0):
        found = sums(learner, window)
        assert found["ratio"] == pytest.approx(1.0, abs=1e-6) and found["kl_k3"] == pytest.approx(0.0, abs=1e-8)
        update(learner, optimizer, window, 1.0, learner.session.mesh, Totals())
        seen += 1
    assert seen == 12
    assert learner.metrics()["ppo/ratio_max"] == pytest.approx(1.0, abs=1e-5)


@both
def test_F3_policy_that_is_the_reference_has_no_kl_and_rewards_at_the_end_alone(architecture):
    learner = lab.alignment(lab.model(architecture), sampling={"temperature": 0.7})
    rollout = learner.roll_out(0)
    assert torch.equal(rollout.old_logp, rollout.ref_logp)
    rewards = lab.learnt(rollout, kl_coef=5.0, gamma=1.0, lam=0.95).rewards
    for row, answer, score in zip(rewards, rollout.responses, rollout.scores, strict=True):
        assert row.tolist() == [0.0] * (len(answer) - 1) + [float(score)] + [0.0] * (len(row) - len(answer))
    next(learner.round(0))
    assert learner.round_metrics["ppo/kl"] == 0.0


def gradients(learner: ppo.Alignment, learnt: Experience, parts: int, mesh: Mesh) -> Tensor:
    """What one update on all of `learnt` gives, cut into `parts` micro-batches of unequal size."""
    cuts = np.linspace(0, 1, parts + 1) ** 1.5 * len(learnt)
    rows = np.split(np.arange(len(learnt)), np.round(cuts[1:-1]).astype(int))
    window = [learner._token_batch(learnt.rows(part.tolist()), False) for part in rows if len(part)]
    optimizer = Kept(learner.trained.parameters())
    update(learner, optimizer, window, 1e9, mesh, Totals())
    return optimizer.grads[0]


@pytest.mark.parametrize(("architecture", "answers"), [("gpt2", 1), ("llama", 1), ("gpt2", 4)])
def test_F10_micro_batches_and_processes_change_no_gradient(architecture, answers):
    """In float64, where 1e-9 is far above rounding. The same over real processes: tests/launch.

    Cuts between the answers to a prompt change nothing either; not of Llama, whose norms are float32 whatever comes in.
    """
    learner = lab.alignment(lab.model(architecture), advantage={"answers": answers})
    learnt = lab.learnt(learner.roll_out(0), kl_coef=0.1, gamma=1.0, lam=0.95)
    learner.moved, learner.ratio_max = {"kl": 0.0, "tokens": 0.0}, 0.0
    learner.trained.double()
    whole = gradients(learner, learnt, 1, learner.session.mesh)
    assert float(whole.abs().max()) > 1e-3
    for parts in (2, 4, 8):
        alone = gradients(learner, learnt, parts, learner.session.mesh)
        ranks = [gradients(learner, learnt, parts, OneOfTwo(r, 2, lab.CPU, torch.float32)) for r in (0, 1)]
        for found in (alone, ranks[0] + ranks[1]):
            torch.testing.assert_close(found, whole, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("minibatches", [2, 4])
def test_F11_optimizer_steps_are_epochs_times_minibatches(minibatches):
    """Eleven prompts in steps of 8: each epoch ends with three answers, fewer than four minibatches."""
    learner = lab.alignment(
        lab.model("gpt2"), prompts=(lab.PROMPTS * 2)[:11], scorer=lab.Rule(len), minibatches=minibatches, ppo_epochs=2
    )
    for step, answers in enumerate([8, 3, 8]):
        taken = lab.train(learner, step + 1, first=step).updates
        assert taken == 2 * min(minibatches, answers) == learner.due()


@pytest.mark.parametrize("answers", [1, 2])
def test_F20_each_pass_has_its_own_order_and_covers_every_sequence_once(answers, monkeypatch):
    """With several answers to a prompt the prompts are what is put in order: their answers share them."""
    advantage = {"answers": answers}
    learner = lab.alignment(lab.model("gpt2"), ppo_epochs=3, minibatches=2, scorer=lab.Rule(len), advantage=advantage)
    taken: list[int] = []
    rows = Experience.rows
    monkeypatch.setattr(Experience, "rows", lambda self, index: taken.extend(index) or rows(self, index))

    def passes(step: int) -> list[list[int]]:
        taken.clear()
        for window in learner.round(step):
            [learner.loss(batch) for batch in window]
        return [taken[i : i + 8] for i in range(0, len(taken), 8)]

    first, second = passes(0), passes(1)
    assert len(first) == len(second) == 3
    for order in first + second:
        assert sorted(order) == list(range(8))
        assert all(order[i + j] == order[i] + j for i in range(0, 8, answers) for j in range(answers))
    assert len({tuple(order) for order in first}) == 3
    assert first[1:] != second[1:]
    assert passes(0) == first  # drawn from (seed, step, epoch) alone


def test_F32_adaptive_coefficient_is_steered_by_nats_per_response():
    """After a round as well as on the numbers of the vector `adaptive_kl_controller`."""
    adaptive = {"name": KLName.adaptive, "coef": 0.15, "target": 6.0, "horizon": 10_000.0}
    learner, other = (
        lab.alignment(lab.model("gpt2"), reference=lab.model("gpt2", seed=5), kl=adaptive) for _ in range(2)
    )
    betas = []
    for measured in (12.0, 3.0, 6.5, 6.0, 0.0):
        learner.kl.update(measured, 512)
        betas.append(learner.kl.coef)
    assert betas == pytest.approx([0.151536, 0.14998427136, 0.150624204251136, 0.150624204251136, 0.149081812399604])
    r = other.roll_out(0)
    nats = sum(float((a - b)[m].sum()) for a, b, m in zip(r.old_logp, r.ref_logp, r.mask, strict=True)) / len(r)
    other.kl.target = nats / 1.1  # an error of 0.1, inside the bounds
    lab.train(other, 1)
    assert other.kl.coef == pytest.approx(0.15 * (1 + 0.1 * 8 / 10_000), rel=1e-9)


@both
def test_F33_first_minibatch_has_ratio_1_in_bfloat16_too(architecture):
    """Same-shape forwards give the same bits; the sampler's cache does not, and its distance is told."""
    learner = lab.alignment(causal.prepare(lab.model(architecture), lab.CPU, torch.bfloat16), ppo_epochs=1)
    learner.trained.train()
    window = next(learner.round(0))
    assert len(window) > 1
    assert sums(learner, window)["ratio"] == pytest.approx(1.0, abs=1e-7)
    assert 0 < learner.sampler_gap < 0.05


def test_F37_gradient_of_the_whole_loss_is_its_slope():
    """Central differences in float64; old numbers are moved so that some tokens clip.

    GPT-2 alone: Llama's norms and positions are float32 inside transformers, too coarse for a difference of 1e-6.
    """
    learner = lab.alignment(lab.model("gpt2"), clip={"ratio": 0.2}, advantage={"value_clip": 0.3, "value_coef": 0.7})
    learnt = lab.learnt(learner.roll_out(0), kl_coef=0.1, gamma=1.0, lam=0.95)
    learner.moved, learner.ratio_max = {"kl": 0.0, "tokens": 0.0}, 0.0
    learner.trained.double()
    draws = torch.Generator().manual_seed(0)

    def noise(like: Tensor, size: float) -> Tensor:
        return size * torch.randn(like.shape, generator=draws, dtype=torch.float64)

    whole = learner._token_batch(learnt, False)
    old, values = whole.old_logp.double() + noise(whole.old_logp, 0.3), whole.old_values + noise(whole.old_values, 0.3)
    batch = ppo.LearntBatch(whole.packed, whole.targets, old, whole.advantages, values, whole.returns, False)
    loss = learner.loss(batch)
    assert 0 < loss.metrics["clipfrac"][0] < batch.items
    weights = list(learner.trained.parameters())
    slopes = torch.autograd.grad(loss.total, weights, allow_unused=True)
    for _ in range(3):
        direction = [noise(w, 1.0) for w in weights]
        expected = sum(float((g * d).sum()) for g, d in zip(slopes, direction, strict=True) if g is not None)
        heights = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                for w, d in zip(weights, direction, strict=True):
                    w += step * d
                heights.append(float(learner.loss(batch).total))
                for w, d in zip(weights, direction, strict=True):
                    w -= step * d
        assert (heights[0] - heights[1]) / 2e-6 == pytest.approx(expected, rel=1e-6)


@both
def test_critic_on_the_policys_trunk_changes_no_law(architecture):
    """F1, F10 and the gradient of the sum: the trunk gets the policy's and value_coef times the value's."""
    head = Head(16)
    torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(0))
    own = {"critic": CriticName.shared, "value_coef": 0.7}
    learner = lab.alignment(lab.model(architecture), critic=head, advantage=own)
    learner.trained.train()
    window = next(learner.round(0))
    found = sums(learner, window)
    assert found["ratio"] == pytest.approx(1.0, abs=1e-6) and found["kl_k1"] == pytest.approx(0.0, abs=1e-6)
    learnt = lab.learnt(learner.roll_out(0), kl_coef=0.1, gamma=1.0, lam=0.95)
    learner.trained.double()
    whole = gradients(learner, learnt, 1, learner.session.mesh)
    torch.testing.assert_close(gradients(learner, learnt, 4, learner.session.mesh), whole, atol=1e-12, rtol=1e-9)
    batch = learner._token_batch(learnt, False)
    states = causal.hidden(learner.model, batch.packed)[batch.targets.at]
    logp = causal.logprobs(learner.model, batch.packed, batch.targets)
    total = -(batch.advantages * (logp - batch.old_logp).exp()).sum()  # nothing has moved, so nothing is clipped
    total = total + 0.7 * ((states @ head.weight + head.bias - batch.returns).square() / 2).sum()
    slopes = torch.autograd.grad(total / batch.items, list(learner.trained.parameters()))
    torch.testing.assert_close(torch.cat([s.flatten() for s in slopes]), whole, atol=1e-6, rtol=1e-5)


@both
def test_adapters_change_no_law(architecture):
    """F1, F3 and F10 before and behind rounds of learning; the reference is the same, whatever has been learnt."""
    model = lab.model(architecture)
    adapters = Adapters(model, rank=3, alpha=6.0, targets=[], seed=0)
    learner = lab.alignment(model, adapters=adapters, ppo_epochs=2, optimizer={"lr": 0.02})
    before = learner.roll_out(0)
    assert torch.equal(before.old_logp, before.ref_logp)
    lab.train(learner, 3)
    for step in (0, 3):
        found = sums(learner, next(learner.round(step)))
        assert found["ratio"] == pytest.approx(1.0, abs=1e-6) and found["kl_k1"] == pytest.approx(0.0, abs=1e-6)
        assert abs(learner.round_metrics["ppo/kl"]) > 0.01
    after = learner.roll_out(0)
    packed, wanted = learner._pack(after.prompts, after.responses)
    temperature = learner.config.sampling.temperature
    expected = causal.logprobs(lab.model(architecture), packed, wanted, temperature)  # loaded apart
    torch.testing.assert_close(after.ref_logp[after.mask], expected.detach(), atol=1e-6, rtol=1e-5)
    learnt = lab.learnt(after, kl_coef=0.1, gamma=1.0, lam=0.95)
    learner.trained.double(), model.double()
    whole = gradients(learner, learnt, 1, learner.session.mesh)
    torch.testing.assert_close(gradients(learner, learnt, 4, learner.session.mesh), whole, atol=1e-9, rtol=1e-6)
