"""manifest.json of a checkpoint: sha256 and size of every file, so that no wrong bit is loaded (reliability F1)."""

import hashlib
import json
import logging
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmtrain.errors import CheckpointError

log = logging.getLogger("llmtrain")

NAME, FORMAT = "manifest.json", "llmtrain-checkpoint-1"
TRAINER_STATE, TRAINER_TENSORS = "trainer.json", "trainer.safetensors"
OURS = (NAME, TRAINER_STATE, TRAINER_TENSORS)  # the rest of a checkpoint is a plain Hugging Face model directory
STEP = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class Manifest:
    """files: name -> {"sha256": 64 hex digits, "bytes": size}. metric ranks checkpoints; None is not ranked."""

    step: int
    metric: float | None
    files: dict[str, dict[str, Any]]


def step_path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}"


def step_paths(folder: Path) -> list[tuple[int, Path]]:
    """Everything in `folder` that is named like a checkpoint, by step; whether it is one is for `verify` to say."""
    found = folder.iterdir() if folder.is_dir() else iter(())
    named = [(match, path) for path in found if (match := STEP.fullmatch(path.name))]
    return sorted((int(match[1]), path) for match, path in named)


def file_digest(path: Path) -> str:
    """sha256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(folder: Path, step: int, metric: float | None) -> None:
    """Describe the files that are in `folder` now. Raises OSError, CheckpointError for a subfolder."""
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_file():
            raise CheckpointError(f"{path}: a checkpoint holds plain files only")
        files[path.name] = {"sha256": file_digest(path), "bytes": path.stat().st_size}
    (folder / NAME).write_text(_text(Manifest(step, metric, files)), encoding="utf-8")


def read(folder: Path) -> Manifest:
    """The manifest of a checkpoint. Raises CheckpointError when it is not there or not as it was written."""
    path = folder / NAME
    try:
        text = path.read_text(encoding="utf-8")
        fields = json.loads(text)
        manifest = Manifest(fields["step"], fields["metric"], fields["files"])
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read ({error})") from None
    if text != _text(manifest):
        raise CheckpointError(f"{path} is not as it was written")
    return manifest


def verify(folder: Path) -> list[str]:
    """What is wrong with the checkpoint in `folder`, one line a file; [] when every byte is as it was written."""
    if folder.is_symlink() or not folder.is_dir():
        return [f"{folder} is not a folder"]
    try:
        manifest = read(folder)
        present = {path.name for path in folder.iterdir()}
    except (CheckpointError, OSError) as error:
        return [str(error)]
    faults = [f"{folder / name} is not in the manifest" for name in sorted(present - {NAME} - set(manifest.files))]
    if folder.name != step_path(folder, manifest.step).name:
        faults.append(f"{folder / NAME} is that of step {manifest.step}")
    return faults + [fault for name, entry in manifest.files.items() if (fault := _fault(folder, name, entry))]


def newest_verified(folder: Path) -> Path | None:
    """The newest checkpoint that verifies; each one passed over is named in a warning.

    None when there is none at all; raises CheckpointError when there are some and none verifies. Only reads.
    """
    found = step_paths(folder)
    for _, path in reversed(found):
        faults = verify(path)
        if not faults:
            return path
        log.warning("checkpoint refused: %s", "; ".join(faults))
    if found:
        raise CheckpointError(
            f"{folder}: none of {len(found)} checkpoints verifies; restore one from a copy, or start a new run"
        )
    return None


def model_digest(digests: dict[str, str]) -> str:
    """One sha256 for a model directory from those of its files; the same in a checkpoint and in a copy without ours."""
    lines = [f"{digest}  {name}\n" for name, digest in sorted(digests.items()) if name not in OURS]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _fault(folder: Path, name: str, entry: dict[str, Any]) -> str | None:
    path = folder / name
    if Path(name).name != name:
        return f"{folder / NAME} names a path outside the checkpoint: {name!r}"
    try:
        if path.is_symlink() or not path.is_file():
            return f"{path} is missing"
        if path.stat().st_size != entry["bytes"]:
            return f"{path} has {path.stat().st_size} bytes instead of {entry['bytes']}"
        return None if file_digest(path) == entry["sha256"] else f"{path} is not as it was written"
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"


def _text(manifest: Manifest) -> str:
    """The only text of a manifest; its own digest guards it like the files."""
    fields = {"format": FORMAT, **asdict(manifest)}
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
    return json.dumps({**fields, "digest": digest}, indent=1) + "\n"
