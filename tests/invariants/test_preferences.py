"""Invariants of what learns from rankings, reward and dpo, on the stages' own learners."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from llmtrain.config.schema import Reward
from llmtrain.data.pack import after, pack
from llmtrain.data.split import Split
from llmtrain.loop.learner import Rate
from llmtrain.models import causal, scalar
from llmtrain.objectives.statistics import pair_accuracy
from llmtrain.stages import dpo, inputs, reward
from tests.invariants import lab

both = pytest.mark.parametrize("architecture", lab.ARCHITECTURES)
Ranked = list[tuple[list[int], list[list[int]], list[float]]]  # prompt, answers, their ranks
SOME: Ranked = [
    ([4, 7], [[9, 8, 1], [5, 1], [11, 12, 13, 1]], [2, 1, 3]),
    ([6], [[3, 1], [14, 2, 1]], [1, 2]),
    ([15, 3, 8, 10], [[7, 7, 1], [16, 1]], [2, 1]),
]


def rows(ranked: Ranked, held: int = 1) -> inputs.Rows:
    """The ranked answers as the tokenised source of a stage; the last `held` prompts are held out."""
    table = lab.table(
        prompt=[p for p, _, _ in ranked],
        responses=[[token for answer in answers for token in answer] for _, answers, _ in ranked],
        response_lengths=[[len(a) for a in answers] for _, answers, _ in ranked],
        ranks=[r for _, _, r in ranked],
        row=[[i] for i in range(len(ranked))],
    )
    n = len(ranked)
    source: Any = SimpleNamespace(description="toy")
    return inputs.Rows(source, table, Split(np.arange(n - held), np.arange(n - held, n), ""), {})


def preferences(architecture: str, ranked: Ranked, *, seed: int = 0, **changes: Any) -> dpo.Preferences:
    """DPO's learner; the reference is a model of seed 0."""
    config = lab.settings("dpo", **{"batch": {"rows": 8, "micro_tokens": 1000}, "beta": 0.4} | changes)
    model, reference = lab.model(architecture, seed=seed), lab.model(architecture)
    session: Any = lab.Alone()
    return dpo.Preferences(config, model, reference, lab.words(), rows(ranked), None, session)


def judging(ranked: Ranked, **changes: Any) -> reward.Judging:
    """The reward stage's learner."""
    config: Reward = lab.settings("reward", **{"batch": {"rows": 8, "micro_tokens": 1000}} | changes)
    model = scalar.from_causal(lab.model("llama"), seed=0)
    session: Any = lab.Alone()
    return reward.Judging(config, model, lab.words(), rows(ranked, held=len(ranked) // 3), None, session)


def summed(model: Any, prompt: list[int], answer: list[int]) -> Tensor:
    """log p(answer | prompt), of one forward alone."""
    row = pack([prompt + answer])
    return causal.logprobs(model, row, after(row, [len(prompt)])).sum()


def gradient(model: torch.nn.Module, loss: Tensor) -> Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@both
def test_F22_dpo_begins_at_ln_2_with_half_beta_on_each_answer(architecture):
    learner = preferences(architecture, SOME)
    fresh = [summed(learner.model, p, a).item() for p, answers, _ in SOME for a in answers]
    assert learner.reference.tolist() == pytest.approx(fresh, abs=1e-5)
    ((batch,),) = learner.round(0)
    found = learner.preference(batch)
    assert found.losses.tolist() == pytest.approx([math.log(2)] * 4, abs=1e-5)
    assert found.margin.abs().max() < 1e-4
    pairs = [(SOME[0][0], 1, 0), (SOME[0][0], 1, 2), (SOME[0][0], 0, 2)]
    wanted = sum(summed(learner.model, p, SOME[0][1][c]) - summed(learner.model, p, SOME[0][1][r]) for p, c, r in pairs)
    wanted = wanted + summed(learner.model, [6], [3, 1]) - summed(learner.model, [6], [14, 2, 1])
    by_hand = -0.4 / 2 * gradient(learner.model, wanted)
    torch.testing.assert_close(gradient(learner.model, learner.loss(batch).total), by_hand, atol=1e-5, rtol=1e-4)


@both
def test_F23_swapped_answers_swap_the_sign_of_h(architecture):
    """And the sign is the right one: the loss is below ln 2 where the policy prefers the chosen answer."""
    swapped = [(p, answers, [-r for r in ranks]) for p, answers, ranks in SOME]
    learner, other = (preferences(architecture, ranked, seed=3) for ranked in (SOME, swapped))
    ((ours,),), ((theirs,),) = learner.round(0), other.round(0)
    found, turned = learner.preference(ours), other.preference(theirs)
    policy, reference = learner.model, lab.model(architecture)
    h = {
        (tuple(p), i): (summed(policy, p, a) - summed(reference, p, a)).item()
        for p, answers, _ in SOME
        for i, a in enumerate(answers)
    }
    by_hand = []
    for p, answers, ranks in [SOME[i] for i in learner.order.at(0)[1]]:
        for c in range(len(answers)):
            by_hand += [0.4 * (h[tuple(p), c] - h[tuple(p), r]) for r in range(len(answers)) if ranks[c] < ranks[r]]
    assert found.margin.tolist() == pytest.approx(by_hand, abs=1e-4)
    torch.testing.assert_close(found.losses, F.softplus(-torch.tensor(by_hand)), atol=1e-4, rtol=0)
    assert sorted(turned.margin.tolist()) == pytest.approx(sorted(-m for m in by_hand), abs=1e-4)
    assert sorted(turned.losses.tolist()) == pytest.approx(sorted(F.softplus(torch.tensor(by_hand)).tolist()), abs=1e-4)


def test_F25_judge_learns_separable_ranks_and_a_constant_one_gets_half():
    """Answers with a 5 in them are good. 12 prompts to learn from, 6 held out."""
    toy: Ranked = [([8 + i % 9, 3 + i % 4], [[6 + i % 3, 2, 1], [6 + i % 3, 5, 1]], [2, 1]) for i in range(18)]
    learner = judging(toy, optimizer={"lr": 0.02})
    lab.train(learner, 25)
    with torch.no_grad():
        values = learner.evaluate(25)
        accuracy = values["eval/accuracy"]
        assert isinstance(accuracy, Rate) and (accuracy.value, accuracy.n) == (1.0, 6)
        assert values["eval/log_loss"] < 0.1
        learner.model.model.score.weight.zero_()
        constant = learner.evaluate(26)["eval/accuracy"]
        ((batch,),) = learner.round(0)
        told, n = learner.loss(batch).metrics["accuracy"]
    assert isinstance(constant, Rate) and constant.value == 0.5 and told / n == 0.5
    assert pair_accuracy(torch.zeros(3)) == 0.5


def test_F26_normalising_a_normalised_judge_changes_nothing(tmp_path):
    """Saved, loaded, gone on with and saved again: the same bias, and mean 0 on the demonstrations each time."""
    learner = judging(SOME, normalise=True)

    def saved(name: str) -> float:
        learner.save(tmp_path / name)
        judge = scalar.load(tmp_path / name, device=lab.CPU)
        best = [judge.scores(b.packed)[b.best] for b in learner.rankings.batches(learner.split.train)]
        assert torch.cat(best).mean().item() == pytest.approx(0.0, abs=1e-5)
        return float(judge.bias)

    first = saved("first")
    assert abs(first) > 1e-3  # it had to be moved
    assert saved("again") == first
    learner.load(tmp_path / "first")
    assert saved("loaded") == pytest.approx(first, abs=1e-6)
