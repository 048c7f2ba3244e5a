"""Other places that may hear of the metrics. metrics.jsonl stays the truth; these are copies for people.

A run that is resumed takes its newest rows back and logs them again, the same ones. TensorBoard takes them back as
well; services that cannot are not told twice.
"""

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Protocol

from llmtrain.errors import ConfigError


class Tracker(Protocol):
    """Hears every logged row; values are finite."""

    def log(self, step: int, values: dict[str, float]) -> None: ...

    def close(self) -> None: ...


Heard = frozenset[tuple[int, str]]  # (step, name) of what was logged after the step that a run goes on from


class TensorBoard:
    """Event files in <run>/tensorboard; what was shown after the resumed step is taken back."""

    def __init__(self, run: Path, resume_step: int, heard: Heard):
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

    def __init__(self, run: Path, resume_step: int, heard: Heard):
        import wandb

        self._heard = heard
        self._run: Any = wandb.init(project=PROJECT, id=_id(run), dir=str(run), resume="allow", save_code=False)

    def log(self, step: int, values: dict[str, float]) -> None:
        new = _untold(step, values, self._heard)
        if new:
            self._run.log(new, step=step)

    def close(self) -> None:
        self._run.finish()


class Trackio:
    """A trackio run under the run directory's own id, in the folder that `trackio show` reads ($TRACKIO_DIR)."""

    def __init__(self, run: Path, resume_step: int, heard: Heard):
        import trackio

        self._trackio, self._heard = trackio, heard
        with redirect_stdout(sys.stderr):  # it greets; standard output belongs to the command
            self._run: Any = trackio.init(
                PROJECT, name=_id(run), resume="allow", embed=False, auto_log_gpu=False, auto_log_cpu=False
            )

    def log(self, step: int, values: dict[str, float]) -> None:
        new = _untold(step, values, self._heard)
        if new:
            self._run.log(new, step=step)

    def close(self) -> None:
        with redirect_stdout(sys.stderr):
            self._trackio.finish()


PROJECT = "llmtrain"
NOTHING: Heard = frozenset()
TRACKERS: dict[str, Callable[[Path, int, Heard], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "trackio": Trackio,
}


def _id(run: Path) -> str:
    return "-".join(run.parts[-3:])


def _untold(step: int, values: dict[str, float], heard: Heard) -> dict[str, float]:
    return {name: value for name, value in values.items() if (step, name) not in heard}


def open_trackers(names: tuple[str, ...], run: Path, resume_step: int, heard: Heard = NOTHING) -> list[Tracker]:
    """The named trackers. Raises ConfigError for one that is not installed."""
    opened: list[Tracker] = []
    for name in names:
        try:
            opened.append(TRACKERS[name](run, resume_step, heard))
        except ImportError as error:
            raise ConfigError(
                f"log.{name}=true: {error.name} is not installed; pip install 'llmtrain[{name}]' or set it false"
            ) from None
    return opened
