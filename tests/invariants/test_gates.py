"""Where PPO must end: games whose optimum is known, played by the stage's own learner (correctness F12 to F17).

The tables and the numbers of four seeds, also for a transformer of one layer: `python -m bench.gates`.
"""

import math
from collections import defaultdict

import torch

from tests.invariants import games, lab
from tests.invariants.games import BANDIT, SEQUENCE, Game

START = [0.5, 0.3, 0.2]


def bandit(beta: float) -> torch.Tensor:
    """[3] where one token with the rewards of the vector `kl_bandit_optimum` ends."""
    learner = games.player(BANDIT, START, beta, batch={"rows": 64})
    lab.train(learner, 40)
    return games.distribution(learner, BANDIT)


def test_F12_bandit_reaches_the_optimum_of_the_reverse_kl():
    """The optimum of k3 as a loss is 0.048 away, the best token alone 0.186."""
    pi = torch.tensor([0.81409826298066, 0.0661057314017532, 0.119796005617587]).double()  # kl_bandit_optimum
    assert games.variation(bandit(0.5), pi) < 0.02


def test_F13_sequence_task_reaches_its_enumerated_optimum():
    result = games.sequence_gate(seed=0)
    assert result.variation < 0.006
    assert abs(result.objective - 0.321467) < 0.005
    assert abs(result.reward - 1.259677) < 0.02 and abs(result.kl - 1.876420) < 0.04


def test_F14_without_kl_the_best_answer_remains_and_with_much_kl_the_reference():
    assert games.variation(bandit(0.0), torch.tensor([1.0, 0.0, 0.0]).double()) < 0.01
    assert games.variation(bandit(50.0), torch.tensor(START).double()) < 0.01


def test_F15_end_token_that_pays_is_learnt():
    """Five tokens at most, and the reward for ending within three."""
    game = Game(lambda ids: float(2 in ids[:3]), length=5, end=2)
    learner = games.player(game, [0.6, 0.35, 0.05], 0.0, batch={"rows": 64})
    lab.train(learner, 30)
    p = games.distribution(learner, game)
    early = torch.tensor([2 in ids[:3] for ids in game.answers(3)])
    assert float(p[early].sum()) > 0.95


def test_F16_constant_reward_leaves_no_advantage_and_moves_nothing():
    """First the critic alone learns; then nothing is left to learn from, though the policy may."""
    game = Game(lambda ids: 1.0, length=3, end=2)
    learner = games.player(game, START, 0.0, batch={"rows": 64}, optimizer={"lr": 0.0}, advantage={"critic_lr": 0.2})
    before = games.distribution(learner, game)
    lab.train(learner, 40)
    advantages = lab.learnt(learner.roll_out(40), kl_coef=0.0, gamma=1.0, lam=0.95, whiten=False).advantages
    assert float(advantages.abs().max()) < 0.02
    o = learner.config.optimizer
    o.lr, o.eps, learner.config.advantage.critic_lr = 0.1, 0.1, 0.0
    lab.train(learner, 20)
    assert games.variation(games.distribution(learner, game), before) < 0.01


def test_F17_true_values_leave_no_mean_advantage_in_any_state():
    """KL included: the reference is another one. 3.5 standard errors for seven states and two lambdas."""
    beta, other = 0.5, [0.2, 0.3, 0.5]
    learner = games.player(SEQUENCE, START, beta, batch={"rows": 4096})
    learner.reference = games.Table(other, 3)
    kl = sum(p * math.log(p / q) for p, q in zip(START, other, strict=True))

    def value(said: list[int]) -> float:
        if said[-1:] == [2] or len(said) == 3:
            return SEQUENCE.reward(said) if said[-1] == 2 else -1.0
        return -beta * kl + sum(p * value([*said, token]) for token, p in enumerate(START))

    with torch.no_grad():
        for said in [[], [0], [1], [0, 0], [0, 1], [1, 0], [1, 1]]:
            learner.critic.model.head.weight[0, games.Table.number(said, 3)] = value(said)
    rollout = learner.roll_out(0)
    for lam in (0.5, 1.0):
        advantages = lab.learnt(rollout, kl_coef=beta, gamma=1.0, lam=lam, whiten=False).advantages
        states: dict[tuple[int, ...], list[float]] = defaultdict(list)
        for answer, row in zip(rollout.responses, advantages.tolist(), strict=True):
            for t in range(len(answer)):
                states[tuple(answer[:t])].append(row[t])
        assert len(states) == 7
        for said, found in states.items():
            a = torch.tensor(found)
            assert abs(float(a.mean())) < 3.5 * float(a.std()) / math.sqrt(len(a)), (lam, said)
