"""Other places that may hear of the metrics. metrics.jsonl stays the truth; these are copies for people."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from llmtrain.errors import ConfigError


class Tracker(Protocol):
    """Hears every logged row; values are finite."""

    def log(self, step: int, values: dict[str, float]) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in <run>/tensorboard; what was shown after the resumed step is taken back."""

    def __init__(self, run: Path, resume_step: int):
        from torch.utils.tensorboard import SummaryWriter

        self._folder = run / "tensorboard"
        self._writer: Any = SummaryWriter(str(self._folder), purge_step=resume_step + 1 if resume_step else None)

    def log(self, step: int, values: dict[str, float]) -> None:
        if not self._folder.is_dir():  # its thread would print a traceback of its own
            raise FileNotFoundError(f"{self._folder} is gone")
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        if self._folder.is_dir():
            self._writer.close()


class WandB:
    """A Weights & Biases run under the run directory's own id, so that resume goes on with the same one."""

    def __init__(self, run: Path, resume_step: int):
        import wandb

        self._run: Any = wandb.init(
            project="llmtrain", id="-".join(run.parts[-3:]), dir=str(run), resume="allow", save_code=False
        )

    def log(self, step: int, values: dict[str, float]) -> None:
        self._run.log(values, step=step)

    def close(self) -> None:
        self._run.finish()


TRACKERS: dict[str, Callable[[Path, int], Tracker]] = {"tensorboard": TensorBoard, "wandb": WandB}


def open_trackers(names: tuple[str, ...], run: Path, resume_step: int) -> list[Tracker]:
    """The named trackers. Raises ConfigError for one that is not installed."""
    opened: list[Tracker] = []
    for name in names:
        try:
            opened.append(TRACKERS[name](run, resume_step))
        except ImportError as error:
            raise ConfigError(
                f"log.{name}=true: {error.name} is not installed; pip install 'llmtrain[{name}]' or set it false"
            ) from None
    return opened
