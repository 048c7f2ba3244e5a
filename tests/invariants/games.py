"""Games small enough to enumerate, played by PPO's own learner with its own sampler.

The player is a table (tabular.py), or a transformer of one layer.
"""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from llmtrain.config.choices import MissingEos
from llmtrain.data.pack import after, pack
from llmtrain.models import causal
from llmtrain.objectives.logprobs import sequence_sums
from llmtrain.stages import ppo
from tests import tiny
from tests.invariants import lab
from tests.invariants.tabular import Table, critic

VECTORS = Path(__file__).parents[1] / "objectives" / "vectors.json"
NEVER = 99  # an end token that no model here can say


@dataclass(frozen=True)
class Game:
    """Say at most `length` tokens, `end` ends it; the reward of what was said, and `missing` where it did not end."""

    reward: Callable[[list[int]], float]
    length: int
    end: int = NEVER
    missing: float | None = None  # None: what was said counts all the same

    def answers(self, tokens: int) -> list[list[int]]:
        """All that can be said, the shorter first."""
        found = []
        for n in range(1, self.length + 1):
            for said in itertools.product(range(tokens), repeat=n):
                if self.end not in said[:-1] and (n == self.length or said[-1] == self.end):
                    found.append(list(said))
        return found


BANDIT = Game(lambda ids: [1.0, 0.0, 0.5][ids[0]], length=1)  # vector kl_bandit_optimum
SEQUENCE = Game(lambda ids: ids.count(1) - 0.5 * ids.count(0), length=3, end=2, missing=-1.0)  # sequence_bandit_optimum


def transformer(start: list[float], seed: int = 0) -> PreTrainedModel:
    """A model of one layer that gives the probabilities `start` whatever was said, and can learn anything else.

    One feature of the last norm is constant, and at first the output matrix reads nothing else.
    """
    model = causal.build(
        "gpt2", vocab_size=len(start), layers=1, width=32, heads=2, ffn_width=64, context=8, tie_embeddings=False,
        embedding_std=0.5, init_std=0.0, dropout=0.0, eos_id=0, pad_id=None, seed=seed,
    )  # fmt: skip
    with torch.no_grad():
        model.transformer.ln_f.weight[0], model.transformer.ln_f.bias[0] = 0.0, 1.0
        model.get_output_embeddings().weight.zero_()
        model.get_output_embeddings().weight[:, 0] = torch.tensor(start).log()
    return model


PLAY: dict[str, Any] = {
    "batch": {"rows": 128, "micro_tokens": 4096},
    "minibatches": 2,
    "ppo_epochs": 2,
    "advantage": {
        "critic_lr": 0.15,
        "gamma": 1.0,
        "lam": 0.95,
        "value_coef": 1.0,
        "whiten": False,  # whitened, the noise would not vanish at the optimum
    },
    "optimizer": {"lr": 0.15, "weight_decay": 0.0, "clip_norm": 1e9},
    "schedule": {"warmup": 0.0, "final": 0.0, "decay": 0.0},
    "sampling": {"temperature": 1.0},
}
# At 0.01 one seed of four loses two answers of 0.85 % together before their worth is known, and samples them no more.
DEEP: dict[str, Any] = {"batch": {"rows": 256}, "optimizer": {"lr": 0.005}, "advantage": {"critic_lr": 0.005}}


def player(game: Game, start: list[float], beta: float, *, deep: bool = False, **changes: Any) -> ppo.Alignment:
    """The learner of a game, before its first round: a table, or with `deep` a transformer of one layer."""
    rule = MissingEos.subtract if game.missing is None else MissingEos.replace
    asked = {
        "judge": {"scale": 1.0, "clip": None, "missing_eos": rule, "missing_eos_score": game.missing or 0.0},
        "kl": {"coef": beta},
        "sampling": {"max_new_tokens": game.length},
    }
    config: dict[str, Any] = tiny.merged(PLAY, DEEP if deep else {}, asked, changes)
    table: Any = Table(start, game.length)
    return lab.alignment(
        transformer(start, config.get("seed", 0)) if deep else table,
        critic=None if deep else critic(start, game.length),
        scorer=lab.Rule(game.reward),
        prompts=[[0]] * config["batch"]["rows"],
        tokenizer=SimpleNamespace(eos_token_id=game.end),
        **config,
    )


@torch.no_grad()
def distribution(learner: ppo.Alignment, game: Game) -> Tensor:
    """[answers] probability of each, exactly, by the forward that trains."""
    answers = game.answers(learner.model.config.vocab_size)
    row = pack([[0, *said] for said in answers])
    targets = after(row, [1] * len(answers))
    return sequence_sums(causal.logprobs(learner.model, row, targets), targets.sequence, len(answers)).exp().double()


def variation(p: Tensor, q: Tensor) -> float:
    """Total variation."""
    return float((p - q).abs().sum()) / 2


@dataclass(frozen=True)
class Result:
    """Where a policy stands in the sequence task."""

    variation: float  # to the enumerated optimum
    objective: float  # E[r] - beta KL
    reward: float
    kl: float


def sequence_gate(seed: int, rounds: int = 60, **changes: Any) -> Result:
    """Train on the vector `sequence_bandit_optimum` and hold the policy against its optimum."""
    vector = next(v for v in json.loads(VECTORS.read_text())["vectors"] if v["name"] == "sequence_bandit_optimum")
    start, beta, best = vector["inputs"]["ref"], vector["inputs"]["beta"], vector["expected"]["p_star"]
    answers = SEQUENCE.answers(3)
    optimum = torch.tensor([best["".join("abE"[token] for token in said)] for said in answers]).double()
    scores = torch.tensor([SEQUENCE.reward(said) if said[-1] == 2 else -1.0 for said in answers]).double()
    learner = player(SEQUENCE, start, beta, seed=seed, **changes)
    before = distribution(learner, SEQUENCE)
    lab.train(learner, rounds)
    p = distribution(learner, SEQUENCE)
    reward, kl = float((p * scores).sum()), float((p * (p / before).log()).sum())
    return Result(variation(p, optimum), reward - beta * kl, reward, kl)
