"""The run directory: who owns it, what it was told to do, how it ended.

State of a run: result.json's status (finished | stopped | failed | interrupted); without one, `running` while its lock
is held and `died` otherwise.
"""

import hashlib
import json
import logging
import math
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from llmtrain.errors import RunError
from llmtrain.run import durable, lock
from llmtrain.run.provenance import describe, redact, redact_all

log = logging.getLogger("llmtrain")

CONFIG, LINEAGE, RESULT, LATEST = "config.yaml", "lineage.json", "result.json", "latest"
DONE = ("finished", "stopped")
ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
JOB = re.compile(r"\d+-.+")  # the folder of a sweep's job; conf/base.yaml names it so
LOWER_IS_BETTER = ("loss", "perplexity", "bits_per_byte")  # ends of the names of such headline metrics
# keys of the configuration that name files
PATHS = ("path", "init", "models", "reference", "judged_by", "tasks", "root")
# What may change between two lives of a run: its limits and what surrounds it, and nothing that made a finished step.
# The content of data.path is held to its digest (lineage.py). A pipeline has the keys under its stages' names.
FREE = re.compile(
    r"([a-z]+\.)?(max_steps|epochs|max_time|log\..+|loop\.(keep_last|keep_best|eval_every|save_every)|stop\..+"
    r"|launch\..+|data\.(path|cache)|run\.root)"
)
SLUG_LENGTH = 80  # characters; a file name has at most 255 bytes


def new_id() -> str:
    """YYYYmmdd-HHMMSS-6hex in UTC. The first three digits are 1/4096 s, so ids sort by time; the others are random."""
    now = time.time()
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    return f"{stamp}-{int(now % 1 * 4096):03x}{secrets.randbelow(4096):03x}"


def slug(overrides: list[str]) -> str:
    """A folder name for a job of a sweep: ["optimizer.lr=1e-3", "kl.coef=0.1"] -> "lr-1e-3_coef-0.1"."""
    parts = []
    for override in overrides:
        key, _, value = override.partition("=")
        leaf = key.strip("+~").rsplit(".", 1)[-1]
        parts.append("-".join(filter(None, (leaf, value.strip("'\"/ ")))))
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", "_".join(parts)).strip(".-_") or "default"
    if len(name) <= SLUG_LENGTH:
        return name
    return f"{name[: SLUG_LENGTH - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def create(path: Path, config: dict[str, Any], argv: list[str], recipe: dict[str, Any] | None = None) -> None:
    """Own `path` by writing config.yaml and lineage.json there. Raises RunError when a run owns it already.

    recipe: {"conf": name, "values": configuration} of what it was composed from; what differs there is recorded.
    """
    kept = redact_all(config)
    if kept != config:
        log.warning("%s: the configuration held what looks like a secret; it was not saved", path)
    kept = absolute(kept)
    began = {"argv": redact_all(argv), "created": round(time.time()), **describe(), "parents": {}, "data": {}}
    began["config"] = kept
    if recipe:
        began["recipe"] = {"conf": recipe["conf"], "values": _differing(absolute(redact_all(recipe["values"])), kept)}
    try:
        path.mkdir(parents=True, exist_ok=True)
        _own(path / CONFIG, yaml.safe_dump(kept, sort_keys=False, allow_unicode=True))
        durable.write_text(path / LINEAGE, json.dumps(began, indent=1, ensure_ascii=False) + "\n")
    except FileExistsError:
        raise RunError(f"{path} holds a run already; continue it with llmtrain resume {path}") from None
    except OSError as error:
        raise RunError(f"{path}: a run cannot be written there ({error.strerror}); choose another run.root") from error


def _differing(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The keys of `now` that `before` has another value for, or none (null), with the latter."""
    old = dict(_leaves(before))
    return {key: old.get(key) for key, value in _leaves(now) if old.get(key) != value}


def _own(file: Path, text: str) -> None:
    """Write a file that must not be there yet, whole or not at all. Raises FileExistsError, OSError."""
    partial = durable.aside(file)
    try:
        durable.write_text(partial, text)
        os.link(partial, file)  # a rename would replace the file of another process
    finally:
        partial.unlink(missing_ok=True)
    durable.sync(file.parent)


def absolute(config: Any, key: str = "") -> Any:
    """The configuration with relative paths that lead somewhere made absolute: `resume` may begin in another folder."""
    if isinstance(config, dict):
        return {name: absolute(value, name) for name, value in config.items()}
    if isinstance(config, list):
        return [absolute(item, key) for item in config]
    if key not in PATHS or not isinstance(config, str) or config in ("", LATEST) or config.startswith("~"):
        return config
    file = re.sub(r"(\.py):\w+$", r"\1", config)  # judge.path and judged_by name a function in its file
    return str(Path(config).absolute()) if key == "root" or durable.exists(Path(file)) else config


def check_unchanged(path: Path) -> None:
    """Raises RunError when config.yaml says another thing than when the run began, but for keys that are FREE."""
    try:
        before = json.loads((path / LINEAGE).read_text(encoding="utf-8"))["config"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # a copy, or a run of an earlier version
        return
    old, new = dict(_leaves(before)), dict(_leaves(read_config(path)))
    changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    bound = [key for key in changed if not FREE.fullmatch(key)]
    if bound:
        values = ", ".join(f"{key} (was {old.get(key, 'not there')!r})" for key in bound)
        raise RunError(
            f"{path / CONFIG}: changed since the run began: {values}. Put the old values back, or start a new run with "
            f"llmtrain {new.get('command')} conf={path / CONFIG}"
        )


def _leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{at}.{key}" if at else str(key))
    else:
        yield at, value


def read_config(path: Path) -> dict[str, Any]:
    """The saved configuration of the run in `path`. Raises RunError."""
    try:
        config = yaml.safe_load((path / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path} is not a run directory: it has no {CONFIG}; list runs with llmtrain runs") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise RunError(f"{path / CONFIG}: cannot be read ({error})") from error
    if not isinstance(config, dict):
        raise RunError(f"{path / CONFIG}: holds no configuration; the run died while it was created, start a new one")
    return config


def write_result(path: Path, status: str, reason: str, step: int, metrics: dict[str, float], **extra: Any) -> None:
    """Record how the run ended, durably. Numbers that are not finite become null. Raises RunError."""
    record = {"status": status, "reason": redact(reason), "step": step, "metrics": metrics, **extra}
    text = json.dumps(finite(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        durable.write_text(path / RESULT, text)
    except OSError as error:
        remedy = "free space, then resume" if path.is_dir() else "the run's folder is gone, start a new run"
        raise RunError(f"{path / RESULT}: cannot be written ({error.strerror}); {remedy}") from error


def read_result(path: Path) -> dict[str, Any] | None:
    """How the run in `path` ended, None when it did not. Raises RunError for a file that is no result."""
    try:
        record = json.loads((path / RESULT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path / RESULT}: cannot be read ({error}); delete it and llmtrain resume {path}") from error
    if not isinstance(record, dict) or not isinstance(record.get("status"), str):
        raise RunError(f"{path / RESULT}: is no result; delete it and llmtrain resume {path}")
    return record


def state(path: Path) -> str:
    """finished | stopped | failed | interrupted | running | died. A held lock outranks an earlier result."""
    if lock.is_held(path):
        return "running"
    try:
        result = read_result(path)
    except RunError:
        return "died"
    return result["status"] if result else "died"


def point_latest(path: Path) -> None:
    """Let `latest` beside the run point at the newest finished one. Folders not named by an id get no pointer."""
    if not ID.fullmatch(path.name):
        return
    done = [run.name for run in _by_id(path.parent) if state_is_done(run)]
    if done:
        try:
            durable.point(path.parent / LATEST, done[-1])
        except OSError as error:
            log.warning("%s could not be updated (%s)", path.parent / LATEST, error)


def newest_finished(root: str | Path, command: str, name: str) -> Path | None:
    """The newest finished run of a command: on its own or as a stage of a pipeline, by id and never by mtime."""
    alone = _by_id(Path(root) / command / name)
    staged = [run / command for run in _by_id(Path(root) / "pipeline" / name)]
    done = [run for run in (*alone, *staged) if state_is_done(run)]
    return max(done, key=run_id, default=None)


def run_id(path: Path) -> str:
    """The id of a run, or of the pipeline that it is a stage of; "" when neither has one."""
    return next((part for part in (path.name, path.parent.name) if ID.fullmatch(part)), "")


def state_is_done(path: Path) -> bool:
    """Whether the run in `path` reached its end."""
    try:
        result = read_result(path)
    except RunError as error:
        log.warning("%s", error)
        return False
    return result is not None and result["status"] in DONE


def finite(value: Any) -> Any:
    """The value as JSON can hold it: numbers that are not finite become None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def _by_id(folder: Path) -> list[Path]:
    found: Iterator[Path] = folder.iterdir() if folder.is_dir() else iter(())
    return sorted((run for run in found if ID.fullmatch(run.name) and not run.is_symlink()), key=lambda run: run.name)
