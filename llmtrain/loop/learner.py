"""The contract between the loop and a stage: a stage is what the loop iterates."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from llmtrain.objectives.intervals import wilson


@dataclass(frozen=True)
class Loss:
    """SUMS over a micro-batch, never means; the loop divides once, by the items of the whole window.

    total: scalar to backpropagate. metrics: name -> (sum, count), averaged over the window for the log.
    """

    total: Tensor
    metrics: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Rate:
    """`passed` of `n`: a metric whose interval is known, so that stopping can ask for its lower bound.

    independent: how many of the n tell something new, when they come in groups (pairs of one prompt, wordings of one
    question); the interval counts those.
    """

    passed: float
    n: int
    independent: int | None = None

    @property
    def value(self) -> float:
        return self.passed / self.n if self.n else 0.0

    @property
    def size(self) -> int:
        """How many of the n tell something new."""
        return self.n if self.independent is None else self.independent

    def interval(self, confidence: float) -> tuple[float, float]:
        """Wilson's interval of the share."""
        return wilson(self.value * self.size, self.size, confidence)


class Batch(Protocol):
    """A micro-batch."""

    @property
    def items(self) -> float:
        """What the loss is averaged over: target tokens, prompts or pairs."""

    @property
    def tokens(self) -> int:
        """Tokens that go through the model, for the throughput."""

    @property
    def filling(self) -> int:
        """Slots that hold none of them and are computed all the same."""


Window = Sequence[Any]  # the micro-batches of one optimizer step
Evaluation = dict[str, float | Rate]


class Learner(Protocol):
    """What a stage hands to `fit`. Everything is a pure function of the step and of the state."""

    @property
    def trained(self) -> nn.Module:
        """What the optimizer and the checkpoint own."""

    @property
    def exported(self) -> nn.Module:
        """The part of it that `save` writes as a Hugging Face directory."""

    def round(self, step: int) -> Iterator[Window]:
        """The updates of one step: one for pretrain, SFT, reward and DPO; epochs x minibatches of a rollout for PPO."""

    def loss(self, batch: Any) -> Loss:
        """Differentiable sums over one micro-batch."""

    def evaluate(self, step: int) -> Evaluation:
        """Held-out metrics, the same rows and draws every time."""

    def due(self) -> int | None:
        """Optimizer steps that the round that just ended must have taken; None when it was cut short on purpose."""

    def metrics(self) -> dict[str, float]:
        """Numbers of the round that just ended, beside those of its losses."""

    def finished(self) -> str | None:
        """A reason to stop now, or None."""

    def save(self, path: Path) -> None:
        """Write the model as a plain Hugging Face directory."""

    def load(self, path: Path) -> None:
        """Take the weights of a directory that `save` wrote."""

    def state_dict(self) -> dict[str, Any]:
        """JSON state beside the weights: coefficients, not weights."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse."""


class Stateless:
    """The defaults of a learner that keeps nothing between steps beside its weights; one update is one step."""

    def due(self) -> int | None:
        return 1

    def metrics(self) -> dict[str, float]:
        return {}

    def finished(self) -> str | None:
        return None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert not state
