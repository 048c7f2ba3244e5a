"""What came from what: resolving `init` to a model that verifies, and recording parents by path and digest."""

import json
import logging
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmtrain.errors import CheckpointError, InitError, RunError
from llmtrain.launch import tuning
from llmtrain.run import durable, manifest
from llmtrain.run.directory import CONFIG, LINEAGE, newest_finished, read_config, run_id
from llmtrain.run.provenance import describe, redact, redact_all

log = logging.getLogger("llmtrain")

HUB = re.compile(r"(?:hub:)?([A-Za-z0-9][\w.-]*/[\w.-]+)(?:@([\w.-]+))?")
NAME = re.compile(r"[A-Za-z][\w.-]*")  # how hub ids were written before they had an owner: gpt2
LONGEST = 200  # characters of a hub id, and of an init= in a message
READ = ("*.safetensors", "*.json", "*.txt", "*.jinja", "*.model")  # data formats alone: no pickle, no code
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True)
class Origin:
    """A model that something starts from.

    path: a plain Hugging Face directory. run: the run that made it, None for a foreign model. digest: sha256 over the
    model's files.
    """

    path: Path
    run: Path | None
    digest: str


def resolve_model(init: str, *, root: str | Path, name: str, stages: tuple[str, ...]) -> Origin:
    """The model that `init` names: a run (its best checkpoint, else its newest), a checkpoint, a Hugging Face
    directory, a hub id `org/name[@revision]`, or `latest`: the newest finished run of one of `stages` with this name.

    Raises InitError saying what to do.
    """
    if init == "latest":
        return _of_run(_latest(root, name, stages), stages)
    path = Path(init).expanduser()
    if not durable.exists(path):
        return _of_hub(init)
    path = path.resolve()
    if path.is_file():
        raise InitError(f"init={init} is a file; give a run, a checkpoint or a model directory")
    if (path / CONFIG).is_file():
        return _of_run(_stage_of(path, stages), stages)
    if path.name == "checkpoints" and (path.parent / CONFIG).is_file():
        return _of_run(path.parent, stages)
    if (path / manifest.NAME).is_file():
        return _of_checkpoint(path, stages)
    return _of_folder(path)


def resolve_file(init: str, *, root: str | Path, name: str, stages: tuple[str, ...], file: str) -> Path:
    """A file that a run left, such as rankings.jsonl of `sample`; init is the run or `latest`. Raises InitError."""
    run = _latest(root, name, stages) if init == "latest" else Path(init).expanduser()
    known = " or ".join(f"`llmtrain {stage}`" for stage in stages)
    if not (run / CONFIG).is_file():
        raise InitError(f"{init} is not a run directory; give one of {known}, or latest")
    path = _stage_of(run, stages).resolve() / file
    if not path.is_file():
        raise InitError(f"{path.parent} has no {file}; give a run of {known} that wrote one")
    return path


def write(run: Path, parents: dict[str, Origin], data: dict[str, str]) -> None:
    """Record what a run starts from in lineage.json: parents by role, digests of its data; and how it computes by now.

    A run that goes on must go on from the same: raises RunError when a recorded digest differs.
    """
    file = run / LINEAGE
    record = read(run) or {"argv": redact_all(sys.argv[1:]), **describe(), "parents": {}, "data": {}}
    fresh = {role: {"path": _stored(run, origin), "digest": origin.digest} for role, origin in parents.items()}
    _check_same(run, {k: v["digest"] for k, v in record["parents"].items()}, {k: v["digest"] for k, v in fresh.items()})
    _check_same(run, record["data"], data)
    record |= {"parents": fresh, "data": data, "settings": tuning.in_force()}
    try:
        durable.write_text(file, json.dumps(redact_all(record), indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise RunError(f"{file}: cannot be written ({error.strerror})") from error


def read(run: Path) -> dict[str, Any]:
    """lineage.json of a run, {} without one. Raises RunError for a file that is none."""
    file = run / LINEAGE
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{file}: cannot be read ({error})") from error
    if not isinstance(record, dict) or not {"parents", "data"} <= set(record):
        raise RunError(f"{file}: is no lineage record; restore it from a copy")
    return record


def recorded(run: Path, role: str) -> Origin | None:
    """The parent that a run recorded as `role`, None when it recorded none: `latest` may mean another one by now.

    Raises InitError when that parent is gone or has changed since.
    """
    entry = read(run).get("parents", {}).get(role)
    if entry is None:
        return None
    path = (run / entry["path"]).resolve()
    if not path.is_dir():
        raise InitError(
            f"{run} started from {path}, which is gone; put it back to go on with this run. (A run that is "
            "resumed prunes checkpoints that others started from: raise its loop.keep_last first, or start this anew.)"
        )
    found = _of_checkpoint(path, None) if (path / manifest.NAME).is_file() else _of_folder(path)
    if found.digest != entry["digest"]:
        raise InitError(f"{run} started from {path}, whose files have changed since; put the old ones back")
    return found


def parents(run: Path) -> dict[str, Path]:
    """Role -> the directory that the run started from, as recorded."""
    return {role: (run / entry["path"]).resolve() for role, entry in read(run).get("parents", {}).items()}


def _latest(root: str | Path, name: str, stages: tuple[str, ...]) -> Path:
    found = [run for stage in stages if (run := newest_finished(root, stage, name))]
    if found:
        return max(found, key=run_id)  # of stages of one pipeline the one named first
    commands = " or ".join(f"`llmtrain {stage} run.name={name}`" for stage in stages)
    raise InitError(f"latest: no finished run of {commands} under {root}; run that first, or give a path or a hub id")


def _stage_of(run: Path, stages: tuple[str, ...]) -> Path:
    """The run itself, or the stage that is meant when it is a pipeline."""
    if read_config(run).get("command") != "pipeline":
        return run
    found = [run / stage for stage in stages if (run / stage / CONFIG).is_file()]
    if not found:
        raise InitError(f"{run} is a pipeline without {' or '.join(stages)}; give one of its stages")
    return found[0]


def _of_run(run: Path, stages: tuple[str, ...]) -> Origin:
    run = run.resolve()
    _check_kind(run, stages)
    best = run / "checkpoints" / "best"
    if best.is_symlink():
        path = best.resolve()
        faults = manifest.verify(path) if path.parent == best.parent else [f"{best} points outside its folder"]
        if not faults:
            return _of_checkpoint(path, None)
        log.warning("best checkpoint refused, taking the newest: %s", "; ".join(faults))
    try:
        newest = manifest.newest_verified(run / "checkpoints")
    except CheckpointError as error:
        raise InitError(str(error)) from None
    if newest is None:
        raise InitError(f"{run} holds no checkpoint; let it reach one (llmtrain resume {run}), or give another run")
    return _of_checkpoint(newest, None)


def _of_checkpoint(path: Path, stages: tuple[str, ...] | None) -> Origin:
    faults = manifest.verify(path)
    if faults:
        raise InitError(f"{'; '.join(faults)}; give another checkpoint, or the run to take its newest good one")
    run = path.parent.parent if (path.parent.parent / CONFIG).is_file() else None
    if run and stages is not None:
        _check_kind(run, stages)
    digests = {name: entry["sha256"] for name, entry in manifest.read(path).files.items()}
    return Origin(path, run, manifest.model_digest(digests))


def _of_folder(path: Path) -> Origin:
    """A Hugging Face directory that somebody else wrote."""
    names = sorted(entry.name for entry in path.iterdir())
    if not any(name.endswith(".safetensors") for name in names):
        pickles = [name for name in names if name.endswith(PICKLES)]
        if pickles:
            raise InitError(
                f"{path}: {pickles[0]} can run code when it is read, so it is not; convert it to safetensors where you "
                "trust it: transformers' from_pretrained(...).save_pretrained(NEW_DIRECTORY)"
            )
        raise InitError(f"{path}: no *.safetensors in it; give a run, a checkpoint or a Hugging Face model directory")
    if "config.json" not in names:
        raise InitError(f"{path}: no config.json beside its safetensors; give a whole Hugging Face model directory")
    files = {file.name: file for pattern in READ for file in path.glob(pattern) if file.is_file()}
    return Origin(path, None, manifest.model_digest({name: manifest.file_digest(f) for name, f in files.items()}))


def _of_hub(init: str) -> Origin:
    """Download (or take from the cache) a model of the hub, data formats alone."""
    match = HUB.fullmatch(init)
    if not match or len(init) > LONGEST or Path(init).parent.exists() or init.split("/")[0] in ("runs", "checkpoints"):
        hint = ", and a model of the hub is org/name, such as openai-community/gpt2" if NAME.fullmatch(init) else ""
        raise InitError(
            f"init={init[:LONGEST]}: no such run, checkpoint or model directory; list runs with llmtrain runs{hint}"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        path = snapshot_download(match[1], revision=match[2], allow_patterns=list(READ))
    except (OSError, ValueError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        reason = redact(str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise InitError(f"init={init}: no such path here, and the hub did not give it ({reason})") from None
    return _of_folder(Path(path))


def _check_kind(run: Path, stages: tuple[str, ...]) -> None:
    """A judge is no policy and a policy no judge; eval takes both."""
    command = read_config(run).get("command")
    if not ("reward" in stages if command == "reward" else set(stages) - {"reward"}):
        raise InitError(f"{run} is a run of `llmtrain {command}`; needed is one of {', '.join(stages)}")


def _check_same(run: Path, before: dict[str, str], now: dict[str, str]) -> None:
    changed = sorted(key for key in before.keys() & now.keys() if before[key] != now[key])
    if changed:
        raise RunError(
            f"{run}: {', '.join(changed)} changed since this run began; put the old files back, or start a new run"
        )


def _stored(run: Path, origin: Origin) -> str:
    """Our own runs relative to this one, so that a tree of runs can be moved; foreign models by absolute path."""
    return os.path.relpath(origin.path, run.resolve()) if origin.run else str(origin.path)
