"""Checkpoints that are whole or not there.

Commit: write aside, fsync every file and the folder, rename, fsync the parent, then the pointers `latest` and `best`
(design 5, reliability F2). An old checkpoint goes only after the new one verified. Loading verifies and walks back.
"""

import json
import logging
import math
import os
import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from llmtrain.errors import CheckpointError, RunError
from llmtrain.run import durable, manifest
from llmtrain.run.manifest import TRAINER_STATE, TRAINER_TENSORS, Manifest, verify

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("llmtrain")

LATEST, BEST = "latest", "best"
REPLACED = re.compile(rf"\.tmp-replace-({manifest.STEP.pattern})-[0-9a-f]{{8}}")
LEFTOVER = re.compile(
    rf"\.tmp-(save|delete|replace)-{manifest.STEP.pattern}-[0-9a-f]{{8}}|\.tmp-write-({LATEST}|{BEST})-[0-9a-f]{{8}}"
)


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint: a Hugging Face model directory with the trainer's state beside it."""

    path: Path
    step: int

    def tensors(self) -> "dict[str, Tensor]":
        """The trainer's tensors, on the CPU."""
        from safetensors.torch import load_file  # torch is loaded where there are tensors, not to look for a checkpoint

        return load_file(self.path / TRAINER_TENSORS)

    def state(self) -> dict[str, Any]:
        """The trainer's JSON state."""
        return json.loads((self.path / TRAINER_STATE).read_text(encoding="utf-8"))

    @property
    def metric(self) -> float | None:
        return manifest.read(self.path).metric


class Checkpoints:
    """The checkpoints of one run. `keep_last` newest and `keep_best` best by metric survive; 0 best keeps no `best`.

    Reading is for everybody; save() and newest() tidy up and are for the owner of the run's lock.
    """

    def __init__(self, folder: Path, keep_last: int, keep_best: int, higher_is_better: bool = True):
        if keep_last < 1 or keep_best < 0:
            raise ValueError(f"keep_last={keep_last}, keep_best={keep_best}: at least 1 and 0")
        self.folder, self.keep_last, self.keep_best = folder, keep_last, keep_best
        self.sign = 1.0 if higher_is_better else -1.0

    def steps(self) -> list[int]:
        """Steps of the checkpoints that are there, ascending, verified or not."""
        return [step for step, _ in manifest.step_paths(self.folder)]

    def newest(self) -> Checkpoint | None:
        """The newest that verifies, after removing what a crash left; None in a fresh run, else CheckpointError."""
        self._sweep()
        path = manifest.newest_verified(self.folder)
        if path is None:
            return None
        self._tidy(path)  # what a crash right after the commit left undone
        return Checkpoint(path, manifest.read(path).step)

    def best(self) -> Checkpoint | None:
        """The best by metric that verifies; None when keep_best is 0 or none has a metric."""
        ranked = self._ranked(self._owned()) if self.keep_best else []
        good = (path for _, path in ranked if not verify(path))
        return next((Checkpoint(path, manifest.read(path).step) for path in good), None)

    def save(
        self,
        step: int,
        write_model: Callable[[Path], None],
        tensors: "dict[str, Tensor]",
        state: dict[str, Any],
        metric: float | None,
    ) -> Path:
        """Commit a checkpoint and prune old ones; a step that is there, verifies and has this metric is left as it is.

        Raises CheckpointError for a full disk, a number that is not finite, state that is not JSON; then the older
        checkpoints are as they were and nothing of this one remains. RunError when the run's folder is gone.
        """
        final = manifest.step_path(self.folder, step)
        metric = metric if metric is not None and math.isfinite(metric) else None
        partial = durable.aside(final, "save")
        try:
            if final.exists() and not verify(final) and manifest.read(final).metric == metric:
                durable.sync(self.folder)
            else:
                self.folder.mkdir(exist_ok=True)
                partial.mkdir()
                _write(partial, step, write_model, tensors, state, metric)
                self._commit(partial, final)
        except CheckpointError:
            raise
        except Exception as error:
            if not _is_io(error):
                raise
            if not self.folder.parent.is_dir():
                raise RunError(f"{self.folder.parent}: the run's folder is gone; start a new run") from error
            raise CheckpointError(
                f"step {step} could not be saved in {self.folder} ({error}); older ones are intact, free space there"
            ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        self._tidy(final)
        return final

    def _commit(self, partial: Path, final: Path) -> None:
        old = durable.aside(final, "replace")
        if final.exists() and not final.is_symlink() and not verify(final):  # saved before it was evaluated
            final.rename(old)  # and back by _sweep(), if the program ends before the new one is in place
        elif final.is_symlink() or final.exists():  # it does not verify; kept for a person to look at
            kept = final.with_name(f"refused-{final.name}-{secrets.token_hex(4)}")
            log.warning("%s does not verify; moved to %s", final, kept)
            final.rename(kept)
        partial.rename(final)
        try:
            durable.sync(self.folder)
            faults = verify(final)
            if faults:
                raise CheckpointError(f"a checkpoint just written does not verify: {'; '.join(faults)}; check the disk")
        except (OSError, CheckpointError):
            final.rename(partial)  # not committed: what no fsync answers for must not be found at resume
            if old.exists():
                old.rename(final)
            raise
        shutil.rmtree(old, ignore_errors=True)
        digest = manifest.file_digest(final / manifest.NAME)
        log.info("checkpoint committed step=%d sha=%s", manifest.read(final).step, digest[:16])

    def _tidy(self, final: Path) -> None:
        """Pointers and retention. The checkpoint is committed: what fails here is a warning."""
        try:
            durable.point(self.folder / LATEST, final.name)
            ranked = self._ranked(self._owned()) if self.keep_best else []
            if ranked:
                durable.point(self.folder / BEST, ranked[0][1].name)
            self._prune(final)
        except OSError as error:
            log.warning("%s: pointers or old checkpoints could not be updated (%s)", self.folder, error)

    def _prune(self, final: Path) -> None:
        """Delete what neither count keeps. Newer steps than `final` were passed over at resume: they do not count."""
        owned = [(m, path) for m, path in self._owned() if path.name <= final.name]
        keep = {path for _, path in owned[-self.keep_last :]} | {
            path for _, path in self._ranked(owned)[: self.keep_best]
        }
        for _, path in owned:
            if path not in keep:
                doomed = durable.aside(path, "delete")
                path.rename(doomed)  # out of the list at once: a crash while deleting leaves no half checkpoint
                shutil.rmtree(doomed)

    def _owned(self) -> list[tuple[Manifest, Path]]:
        """Checkpoints that are ours beyond doubt, by step: real folders whose own manifest belongs to them."""
        owned = []
        for step, path in manifest.step_paths(self.folder):
            if path.is_symlink() or not path.is_dir():
                continue
            try:
                found = manifest.read(path)
            except CheckpointError:
                continue
            if found.step == step:
                owned.append((found, path))
        return owned

    def _ranked(self, owned: list[tuple[Manifest, Path]]) -> list[tuple[Manifest, Path]]:
        """Those with a metric, best first; of equals the newer first."""
        with_metric = [entry for entry in owned if entry[0].metric is not None]
        return sorted(
            with_metric, key=lambda entry: (self.sign * (entry[0].metric or 0.0), entry[0].step), reverse=True
        )

    def _sweep(self) -> None:
        """Remove what a crash left: folders and links of our own temporary names; take back what was to be replaced."""
        for path in list(self.folder.iterdir()) if self.folder.is_dir() else []:
            if not LEFTOVER.fullmatch(path.name):
                continue
            replaced = REPLACED.fullmatch(path.name)
            if path.is_symlink():
                path.unlink(missing_ok=True)
            elif replaced and not (self.folder / replaced[1]).exists():
                path.rename(self.folder / replaced[1])
            elif path.is_dir():
                shutil.rmtree(path, ignore_errors=True)


def _write(
    folder: Path,
    step: int,
    write_model: Callable[[Path], None],
    tensors: "dict[str, Tensor]",
    state: dict[str, Any],
    metric: float | None,
) -> None:
    """Fill `folder`, describe it, and put every byte on the disk."""
    from safetensors.torch import save_file

    write_model(folder)
    save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, folder / TRAINER_TENSORS)
    try:
        text = json.dumps(state, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"step {step}: the trainer's state cannot be written as JSON ({error})") from error
    (folder / TRAINER_STATE).write_text(text + "\n", encoding="utf-8")
    for path in sorted(folder.glob("*.safetensors")):
        _check_finite(path, step)
    manifest.write(folder, step, metric)
    mode = 0o666 & ~_umask()
    for path in folder.iterdir():
        path.chmod(mode)  # safetensors makes files that only their owner can read (reliability F17)
        durable.sync(path)
    durable.sync(folder)


def _check_finite(path: Path, step: int) -> None:
    """Read back what was written; raises CheckpointError for a number that is not finite."""
    import torch

    with safe_open(path, "pt") as file:
        for name in file.keys():  # noqa: SIM118  a safetensors handle is no mapping
            if not bool(torch.isfinite(file.get_tensor(name)).all()):
                raise CheckpointError(
                    f"step {step}: {name} in {path.name} holds a number that is not finite, so it is not saved"
                )


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _is_io(error: Exception) -> bool:
    """Whether the disk failed. Rust libraries raise SafetensorError or a bare Exception with the system's number."""
    return isinstance(error, OSError | SafetensorError) or "os error" in str(error)
