"""Configuration is data (reliability S2, S3, S4, S14): what a command line or a recipe may not hold.

No Python name to call, no environment variable, no secret, no key of Hydra's beyond sweeps; and no YAML that grows when
it is read. The one variable reader left, ${oc.env:..}, is replaced in config/compose.py.
"""

import re
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from llmtrain.errors import ConfigError
from llmtrain.run.provenance import redact, redact_all

MAX_BYTES, MAX_DEPTH = 1 << 18, 20  # a saved configuration has about 4 KiB and depth 3
FLAGS = ("--cfg", "-c", "--resolve", "--package", "-p", "--info", "-i", "--multirun", "-m", "--hydra-help", "--")
CODE_KEYS = {"_target_", "_partial_", "_args_", "_recursive_", "_convert_", "_component_", "()", "custom_search_space"}
HYDRA = ("hydra.sweeper", "hydra.launcher")  # all that a user sets of Hydra's own
ALLOWED = " and ".join(HYDRA)
SWEPT = re.compile(r"^hydra\.sweeper\.(params|search_space)\.")  # keys under it are overrides of jobs
SHELL_KEYS = {"setup", "python", "srun_args", "additional_parameters"}  # of submitit: commands on the cluster


def checked(args: list[str]) -> list[str]:
    """The command line as it came. Raises ConfigError for what it may not hold."""
    for arg in args:
        key = re.sub(r"^[+~]+", "", arg).partition("=")[0]
        parts = re.split(r"[.@/:]", key)
        if redact(arg) != arg:
            raise ConfigError(f"{redact(arg)}: looks like a secret; secrets are read from the environment, never saved")
        if arg.startswith("-") and key not in FLAGS:
            raise ConfigError(f"{key}: no such flag; there are {', '.join(FLAGS)}, --help and --version")
        if CODE_KEYS & set(parts) or re.search(r"\b_(target|args)_\b", arg):
            raise ConfigError(f"{arg}: configuration is data here; it cannot name Python code")
        if "hydra" in parts and not key.replace("/", ".").startswith(HYDRA):
            raise ConfigError(f"{key}: is set by llmtrain; of Hydra's keys only {ALLOWED} can be given")
    return args


def read(path: Path) -> dict[str, Any]:
    """A recipe as plain data. Raises ConfigError for one that is too large, too deep, aliased, or names code."""
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_BYTES:
            raise ConfigError(f"{path}: {len(raw)} bytes; a recipe has at most {MAX_BYTES}")
        _scan(raw, path)
        node = OmegaConf.to_container(OmegaConf.create(raw.decode("utf-8")))
    except (OSError, ValueError, RecursionError, OmegaConfBaseException) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        shown = re.sub(r'"<\w+ string>"', str(path), str(error))
        raise ConfigError(f"{path}: not valid YAML: {shown}") from None
    if not isinstance(node, dict):
        raise ConfigError(f"{path}: a recipe is a mapping of keys to values")
    _refuse(node, path)
    if redact_all(node) != node:
        raise ConfigError(f"{path}: holds what looks like a secret; secrets are read from the environment, never saved")
    return {str(key): value for key, value in node.items()}


def _scan(raw: bytes, path: Path) -> None:
    """Refuse what grows or nests without end before anything is built from it."""
    depth = 0
    for event in yaml.parse(raw, Loader=yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):
        line = f"{path}:{event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent) or (isinstance(event, yaml.NodeEvent) and event.anchor):
            raise ConfigError(f"{line}: anchors and aliases are not allowed in a recipe; write the value out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ConfigError(f"{line}: nested deeper than {MAX_DEPTH} levels")


def _refuse(node: Any, path: Path, at: str = "") -> None:
    if isinstance(node, dict):
        for key, value in node.items():
            where = f"{at}.{key}" if at else str(key)
            _refuse_key(str(key), where, path)
            _refuse(value, path, where)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            if at == "defaults" and isinstance(value, str):
                _refuse_key(value, f"defaults[{index}]", path)
            _refuse(value, path, f"{at}[{index}]")


def _refuse_key(key: str, where: str, path: Path) -> None:
    """A key of a mapping or of hydra.sweeper.params, or an entry of the defaults list (`override /hydra/sweeper`)."""
    parts = set(re.split(r"[.@/:]", key))
    if CODE_KEYS & parts:
        raise ConfigError(f"{path}: `{where}` is not allowed: configuration is data and names no Python code")
    if SHELL_KEYS & parts:
        raise ConfigError(f"{path}: `{where}` would run commands; give it on the command line, not in a recipe")
    name = key.removeprefix("override ") if where.startswith("defaults[") else where
    name = SWEPT.sub("", name).strip(" /").replace("/", ".")
    if name != "hydra" and "hydra" in re.split(r"[.@:]", name) and ("@" in name or not name.startswith(HYDRA)):
        raise ConfigError(f"{path}: `{where}` is set by llmtrain; of Hydra's keys only {ALLOWED} can be given")
