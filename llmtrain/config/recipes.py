"""`conf=NAME` and `conf=FILE.yaml`: each becomes an option of Hydra's group `conf`.

The recipes of the command and the files named on the command line are put into the ConfigStore, so everything that
Hydra does with a group works: conf=a, conf=[a,b], -m conf=a,b, --cfg; and a file may build on a shipped recipe naming
it in its defaults list. What goes in is data: see config/safety.py.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from llmtrain.config import paths, safety
from llmtrain.errors import ConfigError

ELEMENT = re.compile(r"'[^']*'|\"[^\"]*\"|[^\[\],]+")  # of a comma-separated list, brackets around it or not


def resolve(command: str, args: list[str]) -> list[str]:
    """Store the recipes; return the command line with files and data paths in the form that Hydra takes.

    Raises ConfigError for a recipe that is not there or cannot be used, and for what safety.py refuses.
    """
    ConfigStore.instance().repo["conf"] = {}
    known = {name: path.resolve() for name, path in paths.recipes(command).items()}
    for name, path in known.items():
        _store(name, path)
    out: list[str] = []
    for arg in safety.checked(args):
        key, equals, value = arg.partition("=")
        if arg == "conf=null":  # no recipe, the root's own values
            out.append("~conf")
        elif key.lstrip("+") == "conf" and equals:
            out.append("conf=" + ELEMENT.sub(lambda m: _option(m.group(), known), value))
        elif key.lstrip("+") == "data" and equals:
            out += data_override(value)
        elif command == "pipeline" and key.lstrip("+").split(".")[0] in paths.STAGES:
            out.append("++" + arg.lstrip("+"))
        else:
            out.append(arg)
    return out


@contextmanager
def apart() -> Iterator[None]:
    """Composing another command inside leaves this one's recipes as they were."""
    repo = ConfigStore.instance().repo
    before = repo.get("conf", {})
    try:
        yield
    finally:
        repo["conf"] = before


def _option(value: str, known: dict[str, Path]) -> str:
    """The option name of a recipe file; any other value as it is."""
    bare = value.strip("'\" ")
    if not (bare.endswith((".yaml", ".yml")) or "/" in bare):
        return value
    path = Path(bare).expanduser().resolve()
    if not path.is_file():
        raise ConfigError(f"conf={bare}: no such file; give a recipe of `--help` or the path of a YAML file")
    name = re.sub(r"[^\w-]", "_", path.stem)
    if known.setdefault(name, path) != path:
        name += "-" + hashlib.sha256(str(path).encode()).hexdigest()[:6]
    _store(name, path)
    return name


def data_override(value: str) -> list[str]:
    """`data=PATH`, `data=[PATH,...]` or a sweep of paths as overrides of the group and its path."""
    items = [item.strip("'\" ") for item in ELEMENT.findall(value)]
    if not items:
        raise ConfigError("data=: empty; give a path, hub:org/name, latest or an option of the group (--help)")
    if all(item in paths.groups()["data"] for item in items):
        return [f"data={value}"]
    if value.startswith("["):
        return ["data=files", f"data.path=[{','.join(map(quoted, items))}]"]
    return ["data=files", "data.path=" + ",".join(f"[{quoted(item)}]" for item in items)]


def quoted(text: str) -> str:
    """A text in Hydra's override grammar, where a backslash counts only before a quote and at the end."""
    text = re.sub(r"(\\*)'", r"\1\1\\'", text)
    return "'" + re.sub(r"(\\+)$", r"\1\1", text) + "'"


def _store(name: str, path: Path) -> None:
    node = safety.read(path)
    given = node.get("data")
    if isinstance(given, str | list):  # data: OPTION, data: PATH or data: [PATH,...]
        option = given if given in paths.groups()["data"] else "files"
        node["defaults"] = [*_defaults(node, path), {"override /data": option}]
        node["data"] = {} if given == option else {"path": given if isinstance(given, list) else [given]}
    ConfigStore.instance().store(group="conf", name=name, node=OmegaConf.create(node), package="_global_")


def _defaults(node: dict[str, Any], path: Path) -> list[Any]:
    """The recipe's own defaults list, without `_self_`, which comes last anyway."""
    own = node.get("defaults", [])
    if not isinstance(own, list):
        raise ConfigError(f"{path}: defaults: {own!r} should be a list, such as [tiny, override /model: small]")
    return [item for item in own if item != "_self_"]
