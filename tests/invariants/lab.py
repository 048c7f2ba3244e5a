"""The learners of the stages on models of a few thousand weights, without files: what the invariants look at."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from llmtrain.config.choices import KLName
from llmtrain.data.cache import Column, Table
from llmtrain.data.encode import DTYPES
from llmtrain.data.records import Prompt
from llmtrain.launch.mesh import Mesh
from llmtrain.loop.optimizer import set_lr
from llmtrain.loop.update import Totals, update
from llmtrain.models import causal, scalar
from llmtrain.models.lora import Adapters
from llmtrain.objectives.experience import Experience, Rollout, learn_from
from llmtrain.rollout.judge import Judge, RewardJudge
from llmtrain.stages import inputs, ppo, setup
from tests import tiny

CPU = torch.device("cpu")
ARCHITECTURES = ("gpt2", "llama")
PAD, EOS = 0, 1
SMALL = dict(
    vocab_size=23, layers=2, width=16, heads=2, ffn_width=24, context=48, tie_embeddings=False,
    embedding_std=0.6, init_std=0.0, dropout=0.0, eos_id=EOS, pad_id=PAD,
)  # fmt: skip
PROMPTS = [[(7 * i + 3 * j) % 20 + 2 for j in range(n)] for i, n in enumerate([4, 9, 1, 7, 4, 12, 2, 9])]


def model(architecture: str, seed: int = 0, **changes: Any) -> PreTrainedModel:
    return causal.build(architecture, **(SMALL | changes), seed=seed)


@cache
def words(count: int = 23) -> PreTrainedTokenizerFast:
    """A tokenizer whose ids are numbered words."""
    vocab = {"<|pad|>": PAD, "<|end|>": EOS} | {f"w{i}": i for i in range(2, count)}
    backend = Tokenizer(WordLevel(vocab, unk_token="<|pad|>"))
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<|pad|>", eos_token="<|end|>")


@cache
def _composed(command: str) -> Any:
    return tiny.configured(command, Path("runs"))


def settings(command: str, **changes: Any) -> Any:
    """The checked configuration of tests/tiny.py with `changes`, which may be nested."""
    return _replaced(_composed(command), changes)


def _replaced(node: Any, changes: dict[str, Any]) -> Any:
    new = {k: _replaced(getattr(node, k), v) if isinstance(v, dict) else v for k, v in changes.items()}
    return replace(node, **new)


@dataclass
class Alone:
    """What a learner wants of a session: one process, nobody who interrupts it, no files."""

    path: Path = Path("nowhere")
    mesh: Mesh = field(default_factory=lambda: Mesh(0, 1, CPU, torch.float32))

    def poll_alone(self) -> None:
        return None

    def write_json(self, name: str, value: Any) -> None:
        return None


@dataclass
class Rule:
    """A judge by a function of the answer's ids; it keeps the answers that it saw."""

    reward: Callable[[list[int]], float]
    seen: list[list[int]] = field(default_factory=list)

    def score(self, prompts: Sequence[Prompt], ids: Sequence[list[int]], answers: Sequence[Any]) -> Tensor:
        self.seen += [answer.ids for answer in answers]
        return torch.tensor([float(self.reward(answer.ids)) for answer in answers])


FIXED = {"name": KLName.fixed, "target": None, "horizon": None}
BASE = {
    "kl": FIXED,
    "sampling": {"max_new_tokens": 6},
    "batch": {"rows": 8, "micro_tokens": 40},
    "advantage": {"value_clip": None},
}


def alignment(
    policy: PreTrainedModel,
    *,
    reference: PreTrainedModel | None = None,
    critic: Any = None,
    scorer: Judge | None = None,
    adapters: Adapters | None = None,
    prompts: list[list[int]] = PROMPTS,
    tokenizer: Any = None,
    **changes: Any,
) -> ppo.Alignment:
    """PPO's learner. The reference is a copy of the policy or its adapters, critic and judge are fresh heads on it."""
    config = settings("ppo", **tiny.merged(BASE, changes))
    before = adapters or (reference or deepcopy(policy)).eval().requires_grad_(False)
    critic = critic or scalar.from_causal(policy, seed=1)
    scorer = scorer or RewardJudge(scalar.from_causal(policy, seed=2).eval().requires_grad_(False), 40)
    asked = inputs.Prompts([Prompt(()) for _ in prompts], prompts, "")
    session: Any = Alone()
    held: Any = None
    known = tokenizer or words()
    return ppo.Alignment(config, policy, before, critic, scorer, known, asked, held, session, adapters)


def train(learner: Any, steps: int, first: int = 0) -> Totals:
    """Rounds `first`.. of `steps`, each with its learning rate, as the loop takes them."""
    config, totals = learner.config, Totals()
    slow = {"critic.": config.advantage.critic_lr} if config.command == "ppo" else {}
    optimizer, schedule = setup.optimizer_of(config, learner.trained, slow), setup.schedule_of(config, steps)
    for step in range(first, steps):
        set_lr(optimizer, schedule(step))
        learner.trained.train()
        for window in learner.round(step):
            update(learner, optimizer, window, config.optimizer.clip_norm, learner.session.mesh, totals)
        learner.trained.eval()
    return totals


def learnt(rollout: Rollout, *, kl_coef: float, gamma: float, lam: float, whiten: bool = True) -> Experience:
    """What PPO learns from a rollout."""
    return learn_from(rollout, "gae", kl_coef=kl_coef, answers=1, gamma=gamma, lam=lam, whiten=whiten)


def table(**columns: list[list]) -> Table:
    """Rows of tokens as the stages read them, by column (data/encode.py names those)."""
    made = {}
    for name, rows in columns.items():
        values = np.concatenate([np.asarray(row, dtype=DTYPES[name]) for row in rows])
        made[name] = Column(values, np.concatenate([[0], np.cumsum([len(row) for row in rows])]))
    return Table(made, {}, 0, "")
