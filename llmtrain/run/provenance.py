"""What made a run: versions, commit, machine; and the removal of secrets from everything that is written (S14)."""

import logging
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from llmtrain.launch import cpus

HIDDEN = "[redacted]"
PACKAGES = (
    "llmtrain",
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "safetensors",
    "hydra-core",
    "omegaconf",
    "numpy",
)
SHORTEST = 8  # characters of an environment value that is looked for; shorter ones would hit ordinary words

ENVIRONMENT = re.compile(
    r"(^|_|^PG)(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)(_|$)|(API|ACCESS|SECRET|PRIVATE|AUTH)_?KEY", re.I
)
SHAPES = re.compile(
    r"\b(hf_[A-Za-z0-9]{16,}|sk-(?=[\w-]*\d)[\w-]{16,}|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}"
    r"|xox[abprs]-[\w-]{10,}|(AKIA|ASIA)[0-9A-Z]{16}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,})"
)
USERINFO = re.compile(r"(?<=://)[^/\s@'\"]+(?=@)")
BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}")
# Names of secrets. `token` counts alone or with such a prefix: eos_token, num_tokens, max_new_tokens are no secrets.
NAMES = (
    r"[\w.-]*(?:(?:api|access|secret|private)[_-]?key|secret|password|passwd|passphrase"
    r"|(?:hf|hub|api|auth|access|refresh|wandb|github|gitlab|bearer|session)[_-]?token)"
    r"|token(?=['\"]?\s*[=:]\s*['\"]?\S{8})"
)
VALUE = r"\[redacted\]|\"[^\"]*\"|'[^']*'|[^\s,;&'\"\]})]+"
NAMED = re.compile(
    rf"(?i)(?P<name>(?<![A-Za-z0-9_])(?<![A-Za-z0-9]-)(?:{NAMES}))(?P<sep>['\"]?\s*[=:]\s*)(?P<value>{VALUE})"
)


def redact(text: str) -> str:
    """`text` without secret environment values, keys of a known shape, URL passwords, `api_key=...`."""
    for value in _environment(os.environ):
        text = text.replace(value, HIDDEN)
    text = SHAPES.sub(HIDDEN, text)
    text = USERINFO.sub(HIDDEN, text)
    text = BEARER.sub(lambda m: f"{m[1]} {HIDDEN}", text)
    return NAMED.sub(lambda m: f"{m['name']}{m['sep']}{HIDDEN}" if m["value"] != "null" else m[0], text)


def redact_all(value: Any) -> Any:
    """The same for every string in nested mappings and lists; strings under a secret's name go whole."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: _entry(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_all(item) for item in value]
    return value


class RedactingFormatter(logging.Formatter):
    """For log handlers: the finished line, traceback included, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def describe() -> dict[str, Any]:
    """Versions of the packages at work, git commit of the working directory, machine."""
    return {"versions": _versions(), "git": git_commit(), "machine": _machine()}


def git_commit() -> dict[str, Any] | None:
    """{"commit": 40 hex digits, "changed": whether files differ from it} of the working directory, None outside git."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "changed": bool(_git("status", "--porcelain", "--untracked-files=no"))}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # an uninstalled checkout
            continue
    return found


def _machine() -> dict[str, Any]:
    cores = {"cpus": os.cpu_count(), "usable_cpus": cpus.usable()}
    return {"system": platform.platform(), **cores, "host": platform.node()}


def _environment(environment: Mapping[str, str]) -> list[str]:
    """Secret values, longest first, so that one inside another leaves no rest."""
    found = {v for k, v in environment.items() if ENVIRONMENT.search(k) and len(v) >= SHORTEST}
    return sorted(found, key=len, reverse=True)


def _entry(key: str, item: Any) -> Any:
    if isinstance(item, str) and item and redact(f"{key}={item}") == f"{key}={HIDDEN}":
        return HIDDEN
    return redact_all(item)
