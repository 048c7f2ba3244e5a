"""`conf=NAME` and `conf=FILE.yaml`: each becomes an option of Hydra's group `conf`.

The recipes of the command and the files named on the command line are put into the ConfigStore, so everything that
Hydra does with a group works: conf=a, conf=[a,b], -m conf=a,b, --cfg; and a file may build on a shipped recipe naming
it in its defaults list.
"""

import hashlib
import re
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from llmtrain.config import paths
from llmtrain.errors import ConfigError

MAX_BYTES, MAX_DEPTH = 1 << 20, 20
CODE_KEYS = {"_target_", "_partial_", "_args_", "_recursive_", "_convert_", "_component_", "()"}
CODE_PLACES = ("hydra.callbacks", "hydra.job_logging", "hydra.hydra_logging")
DATA_SUFFIX = re.compile(r"\.(txt|jsonl?|csv|parquet)(\.gz)?$")
STAGES = ("pretrain", "sft", "sample", "reward", "ppo", "dpo", "eval")  # whose keys the pipeline takes


def resolve(command: str, args: list[str]) -> list[str]:
    """Store the recipes; return the command line with files and data paths in the form that Hydra takes."""
    known = {name: path.resolve() for name, path in paths.recipes(command).items()}
    for name, path in known.items():
        _store(name, path)
    out: list[str] = []
    for arg in args:
        refuse_code(arg)
        key, equals, value = arg.partition("=")
        if key == "conf" and equals:
            out.append("conf=" + re.sub(r"[^\[\],]+", lambda m: _option(m.group(), known), value))
        elif key == "data" and equals:
            out += data_override(value)
        elif command == "pipeline" and key.lstrip("+~").split(".")[0] in STAGES:
            out.append("++" + arg.lstrip("+"))
        else:
            out.append(arg)
    return out


def _option(value: str, known: dict[str, Path]) -> str:
    """The option name of a recipe file; any other value as it is."""
    value = value.strip("'\" ")
    if not (value.endswith((".yaml", ".yml")) or "/" in value):
        return value
    path = Path(value).expanduser().resolve()
    if not path.is_file():
        raise ConfigError(f"conf={value}: no such file; give a recipe of `--help` or the path of a YAML file")
    name = re.sub(r"[^\w-]", "_", path.stem)
    if known.setdefault(name, path) != path:
        name += "-" + hashlib.sha1(str(path).encode()).hexdigest()[:6]
    _store(name, path)
    return name


def data_override(value: str) -> list[str]:
    """`data=PATH`, `data=[PATH,...]` or a sweep of paths as overrides of the group and its path."""
    items = [item.strip("'\" ") for item in value.strip("[]").split(",")]
    if all(item in paths.groups()["data"] for item in items):
        return [f"data={value}"]
    quoted = [f"'{item}'" for item in items]
    if value.startswith("["):
        return ["data=files", f"data.path=[{','.join(quoted)}]"]
    return ["data=files", "data.path=" + ",".join(f"[{item}]" for item in quoted)]


def read(path: Path) -> dict[str, Any]:
    """A recipe as plain data. Raises ConfigError for one that is too large, too deep, aliased, or names code."""
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_BYTES:
            raise ConfigError(f"{path}: {len(raw)} bytes; a recipe has at most {MAX_BYTES}")
        for event in yaml.parse(raw):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                line = event.start_mark.line + 1
                raise ConfigError(
                    f"{path}:{line}: anchors and aliases are not allowed in a recipe; write the value out"
                )
        node = OmegaConf.to_container(OmegaConf.create(raw.decode("utf-8")))
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(node, dict):
        raise ConfigError(f"{path}: a recipe is a mapping of keys to values")
    _refuse(node, path)
    return node


def _store(name: str, path: Path) -> None:
    node = read(path)
    given = node.get("data")
    if isinstance(given, str | list) and given not in paths.groups()["data"]:  # data: PATH
        node["data"] = {"name": "files", "path": given if isinstance(given, list) else [given]}
    ConfigStore.instance().store(group="conf", name=name, node=OmegaConf.create(node), package="_global_")


def refuse_code(arg: str) -> None:
    """Raises ConfigError for an override that would let configuration name Python code or read the environment."""
    key = arg.lstrip("+~").partition("=")[0]
    if (
        CODE_KEYS & set(re.split(r"[.@/]", key))
        or key.startswith(CODE_PLACES)
        or any(k in arg for k in ("_target_", "_args_"))
    ):
        raise ConfigError(f"{arg}: configuration is data here; it cannot name Python code")
    if "oc.env" in arg:
        raise ConfigError(
            f"{arg}: environment variables do not go into a configuration, which is saved; give the value"
        )


def _refuse(node: Any, path: Path, at: str = "", depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        raise ConfigError(f"{path}: nested deeper than {MAX_DEPTH} levels at {at}")
    if isinstance(node, dict):
        for key, value in node.items():
            where = f"{at}.{key}" if at else str(key)
            if str(key) in CODE_KEYS or where.startswith(CODE_PLACES):
                raise ConfigError(f"{path}: `{where}` is not allowed: configuration is data and names no Python code")
            _refuse(value, path, where, depth + 1)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            _refuse(value, path, f"{at}[{index}]", depth + 1)
    elif isinstance(node, str) and "oc.env" in node:
        raise ConfigError(f"{path}: `{at}`: environment variables do not go into a configuration, which is saved")
