"""What a run needs, put together: memory by model and by phase, work, disk. One process; plain numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from llmtrain.estimate import disk, memory
from llmtrain.estimate.flops import Work
from llmtrain.estimate.shape import Decoding, Load, Shape

PROCESS = 450 * 2**20  # Python, torch, transformers and their code, before any model; on the CPU they share its memory


@dataclass(frozen=True)
class Model:
    """One of the models in memory.

    load: the largest micro-batch that it scores, or where it is trained learns from. asked: what it samples.
    """

    role: str
    shape: Shape
    trained: bool = False
    load: Load | None = None
    asked: Decoding | None = None

    def bytes(self, narrow: int) -> dict[str, int]:
        """What it takes, by what for. All of it at once only where the phases say so."""
        learns = self.load if self.trained else None
        return {
            "weights": memory.weights(self.shape),
            "gradients": memory.gradients(self.shape) if self.trained else 0,
            "optimizer": memory.moments(self.shape) if self.trained else 0,
            "activations": memory.kept(self.shape, learns, narrow) if learns else 0,
            "logits": memory.logits(self.shape, self.load) if self.load else 0,
            "cache": memory.cache(self.shape, self.asked, narrow) if self.asked else 0,
        }


@dataclass(frozen=True)
class Needs:
    """steps, saves: None where they depend on rows that were not counted. tokens: of a step, through the trained model.

    step: the work of one, evaluation: of one evaluation, evaluations: how many there are.
    """

    command: str
    models: tuple[Model, ...]
    narrow: int
    processes: int
    batches: int  # micro-batches of an update, which the processes share
    tokens: int
    step: Work
    steps: int | None
    evaluation: Work
    evaluations: int
    checkpoint: int
    kept: int  # checkpoints on the disk at the worst moment
    notes: tuple[str, ...] = ()

    @property
    def phases(self) -> dict[str, int]:
        """Bytes at the worst moment of each phase, all models included."""
        still = resident(self.models)
        found = {}
        if any(m.trained for m in self.models):
            found["update"] = still + update(self.models, -(-self.batches // self.processes), self.narrow)
        if scored := [m for m in self.models if m.load and not m.trained]:
            found["scoring"] = still + max(memory.passing(m.shape, m.load) for m in scored if m.load)
        if writers := [m for m in self.models if m.asked]:
            found["sampling"] = still + max(sampling(m, self.narrow) for m in writers)
        return found or {"weights": still}

    @property
    def peak(self) -> int:
        return max(self.phases.values())

    @property
    def work(self) -> Work | None:
        """Of the whole run."""
        return None if self.steps is None else self.step * self.steps + self.evaluation * self.evaluations

    @property
    def disk(self) -> int:
        return self.checkpoint * self.kept


def resident(models: Sequence[Model]) -> int:
    """Weights of all, and the optimizer's state of those that learn."""
    return sum(memory.weights(m.shape) + (memory.moments(m.shape) if m.trained else 0) for m in models)


def sampling(model: Model, narrow: int) -> int:
    assert model.asked is not None
    cache, matrices = memory.cache(model.shape, model.asked, narrow), memory.casts(model.shape, narrow)
    return cache + matrices + memory.choosing(model.shape, model.asked)


def update(models: Sequence[Model], batches: int, narrow: int) -> int:
    """The worst moment of an update, weights and optimizer apart.

    Models that learn from one loss go forward one after the other and backward the other way round. With one
    micro-batch a gradient comes as the activations behind it go; with more, all of them are there from the second on.
    """
    trained = [(m.shape, m.load) for m in models if m.trained and m.load]
    gradients = [memory.gradients(shape) for shape, _ in trained]
    worst, waiting = sum(gradients), 0
    for number, (shape, load) in enumerate(trained):
        there = sum(gradients) if batches > 1 else sum(gradients[number + 1 :])
        kept = waiting + memory.kept(shape, load, narrow)
        worst = max(worst, there + kept + memory.turning(shape, load, narrow))
        waiting = kept + (0 if memory.in_chunks(shape, load) else memory.logits(shape, load))
    return worst


def checkpoint(models: Sequence[Model], prefixes: Sequence[str]) -> int:
    """The tensors of a checkpoint: the first trained model exported, adapters and others beside it, and all moments."""
    trained = [m.shape for m in models if m.trained]
    beside = {f"trained.{prefixes[0]}{name}": size for name, size in trained[0].adapters.items()}
    for prefix, shape in zip(prefixes[1:], trained[1:], strict=True):
        beside |= {f"trained.{prefix}{name}": size for name, size in shape.tensors.items()}
        beside |= {f"trained.{prefix.removesuffix('model.')}bias": ()}  # of models/scalar.py
    return disk.model(trained[0]) + disk.trainer(zip(prefixes, trained, strict=True), beside)
