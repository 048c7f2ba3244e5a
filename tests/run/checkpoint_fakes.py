"""Small checkpoints, and a way to die like a process does."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

from llmtrain.run.checkpoints import Checkpoints

FILES = ["config.json", "manifest.json", "model.safetensors", "tokenizer.json", "trainer.json", "trainer.safetensors"]


def write_model(value: float) -> Callable[[Path], None]:
    """A stand-in for save_pretrained: weights that all are `value`."""

    def write(folder: Path) -> None:
        save_file({"weight": torch.full((64, 64), value)}, folder / "model.safetensors")
        (folder / "config.json").write_text('{"model_type": "llama"}')
        (folder / "tokenizer.json").write_text("{}")

    return write


def save(checkpoints: Checkpoints, step: int, metric: float | None = None) -> Path:
    """A checkpoint whose every number is its step."""
    tensors = {"optimizer.step.weight": torch.full((8,), float(step))}
    return checkpoints.save(step, write_model(float(step)), tensors, {"cursor": step}, metric)


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked process; its exit code, or minus the signal that killed it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def value_of(checkpoints: Checkpoints) -> float:
    """The one number in the newest checkpoint."""
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.state() == {"cursor": newest.step}
    return float(newest.tensors()["optimizer.step.weight"][0])


def leftovers(checkpoints: Checkpoints) -> list[str]:
    return [name for name in names(checkpoints.folder) if name.startswith(".tmp")]
