"""One weight, whose loss on a token x is w * x: every gradient is known by hand."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from llmtrain.launch.mesh import Mesh
from llmtrain.loop.fit import Plan
from llmtrain.loop.learner import Evaluation, Loss, Stateless
from llmtrain.loop.optimizer import adamw

ONE = Mesh(0, 1, torch.device("cpu"), torch.float32)
PLAN = Plan(
    max_steps=6,
    max_seconds=None,
    log_every=1,
    eval_every=2,
    save_every=2,
    clip_norm=1e9,
    max_skipped=2,
    seed=0,
    best="eval/score",
    higher_is_better=True,
    shown=(),
    progress=False,
)


class OneOfTwo(Mesh):
    """A process of two, without the other: the test adds the gradients of both itself."""

    def add_gradients(self, parameters) -> None:
        return None


class Kept(torch.optim.SGD):
    """Remembers the gradient of each step, and takes none."""

    def __init__(self, parameters):
        super().__init__(parameters, lr=1.0)
        self.grads: list[Tensor] = []

    def step(self, closure=None):
        self.grads.append(torch.cat([p.grad.flatten() for p in self.param_groups[0]["params"] if p.grad is not None]))


def plan(**changes) -> Plan:
    return replace(PLAN, **changes)


@dataclass(frozen=True)
class Numbers:
    """A micro-batch: a factor for each token."""

    x: Tensor

    @property
    def items(self) -> float:
        return len(self.x)

    @property
    def tokens(self) -> int:
        return len(self.x)

    @property
    def filling(self) -> int:
        return 0


class Fake(Stateless):
    """Learns w from windows(step); scores(step) is what an evaluation measures."""

    def __init__(
        self,
        windows: Callable[[int], list[list[Tensor]]] = lambda step: [[torch.tensor([1.0, 2.0])]],
        scores: Callable[[int], Evaluation] = lambda step: {"eval/score": float(step)},
    ):
        self.module = nn.ParameterDict({"w": nn.Parameter(torch.ones(2, 2)), "b": nn.Parameter(torch.zeros(2))})
        self.trained = self.exported = self.module
        self.windows, self.scores = windows, scores
        self.rounds: list[int] = []
        self.before: list[Tensor] = []  # the weights at the start of each round
        self.reason: str | None = None

    def round(self, step: int) -> Iterator[list[Numbers]]:
        self.rounds.append(step)
        self.before.append(self.module["w"].detach().clone())
        for window in self.windows(step):
            yield [Numbers(x) for x in window]

    def loss(self, batch: Numbers) -> Loss:
        total = (self.module["w"][0, 0] + self.module["b"].sum()) * batch.x.sum()
        return Loss(total, {"loss": (float(batch.x.sum()), len(batch.x))})

    def evaluate(self, step: int) -> Evaluation:
        return self.scores(step)

    def due(self) -> int | None:
        return len(self.windows(self.rounds[-1]))

    def finished(self) -> str | None:
        return self.reason

    def save(self, path: Path) -> None:
        save_file({n: t.detach().clone() for n, t in self.module.state_dict().items()}, path / "model.safetensors")
        (path / "config.json").write_text("{}")

    def load(self, path: Path) -> None:
        self.module.load_state_dict(load_file(path / "model.safetensors"))


def optimizer(learner: Fake, lr: float = 0.1) -> torch.optim.AdamW:
    return adamw(learner.trained, lr=lr, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1)


def flat(step: int) -> float:
    """A schedule that stays at full height."""
    return 1.0
