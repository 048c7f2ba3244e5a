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

from llmtrain.config import names, paths, safety
from llmtrain.config.names import meant
from llmtrain.config.words import ELEMENT, bare, literal, quoted
from llmtrain.errors import ConfigError

SOURCE = (
    "name",
    "path",
    "split",
    "text_column",
    "world",
    "rows",
)  # of `data`: where rows come from, not how they are read


def resolve(command: str, settings: list[str]) -> list[str]:
    """Store the recipes; return the settings with files and data paths in the form that Hydra takes.

    Raises ConfigError for a recipe that is not there or cannot be used, and for what safety.py refuses.
    """
    ConfigStore.instance().repo["conf"] = {}
    chosen = _chosen(command, safety.checked(settings))
    known = {name: path.resolve() for name, path in paths.recipes(command).items()}
    for name, path in known.items():
        _store(command, name, path, chosen)
    out: list[str] = []
    for setting in settings:
        key, equals, value = setting.partition("=")
        key = key.lstrip("+")
        if setting == "conf=null":  # no recipe, the root's own values
            out.append("~conf")
        elif key == "conf" and equals:
            out.append("conf=" + ELEMENT.sub(lambda m: _option(command, m.group(), known, chosen), value))
        elif key == "data" and equals:
            out += data_override(value)
        elif equals and key.partition(".")[0] in paths.parts(command):
            out.append(_of_part(setting, key, value))
        else:
            out.append(setting)
    return out


def _of_part(setting: str, key: str, value: str) -> str:
    """A key of a stage, which no schema of Hydra's knows; the choice of a group gets a place of its own."""
    stage, _, rest = key.partition(".")
    if rest in groups_of(stage):
        value = ELEMENT.sub(lambda m: quoted(bare(m.group())), value) if rest == "data" else value
        return f"++{stage}.choose.{rest}={value}"
    return f"++{key}={value}"


def groups_of(command: str) -> list[str]:
    """The groups that a command chooses from, its recipes not among them."""
    return [group for group in paths.defaults(command) if group != "conf"]


def choices(command: str, values: dict[str, Any]) -> dict[str, Any]:
    """A stage's overrides with the options of its groups under `choose`, where keys below a group do not meet them."""
    picked = {key: v for key, v in values.items() if key in groups_of(command) and not isinstance(v, dict)}
    rest = {key: v for key, v in values.items() if key not in picked}
    return rest | {"choose": {**values.get("choose", {}), **picked}} if picked else values


def flat(overrides: dict[str, Any], at: str = "") -> Iterator[str]:
    """Nested overrides as settings, the choices of groups first."""
    if not at:
        for group, option in overrides.get("choose", {}).items():
            yield from data_of(option if isinstance(option, list) else [option], group)
    for key, value in overrides.items():
        if isinstance(value, dict) and (at or key != "choose"):
            yield from flat(value, f"{at}{key}.")
        elif not isinstance(value, dict):
            yield f"{at}{key}={literal(value)}"


def faulty_options(command: str, settings: list[str]) -> dict[str, str]:
    """Settings that choose an option which is not there -> what to say."""
    options = {group: paths.groups()[group] for group in groups_of(command)}
    options["conf"] = [name.removesuffix(".yaml") for name in ConfigStore.instance().repo["conf"]]
    faults = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        key = key.lstrip("+")
        if key in paths.groups() and key not in names.known(command):  # Hydra itself speaks of force-adding it
            faults[setting] = names.unknown(command, key)
        for word in map(bare, ELEMENT.findall(value)) if key in options else ():
            if word not in options[key]:
                there = ", ".join(options[key])
                faults[setting] = f"{key}={word}: there is no such option{meant(word, options[key])}; known are {there}"
    return faults


@contextmanager
def apart() -> Iterator[None]:
    """Composing another command inside leaves this one's recipes as they were."""
    repo = ConfigStore.instance().repo
    before = repo.get("conf", {})
    try:
        yield
    finally:
        repo["conf"] = before


def _option(command: str, value: str, known: dict[str, Path], chosen: dict[str, str]) -> str:
    """The option name of a recipe file; any other value as it is."""
    word = bare(value)
    if not (word.endswith((".yaml", ".yml")) or "/" in word):
        return value
    path = Path(word).expanduser().resolve()
    if not path.is_file():
        near = meant(Path(word).stem, paths.recipes(command))
        raise ConfigError(f"conf={word}: no such file{near}; give a recipe of `--help` or the path of a YAML file")
    name = re.sub(r"[^\w-]", "_", path.stem, flags=re.ASCII)
    if known.setdefault(name, path) != path:
        name += "-" + hashlib.sha256(str(path).encode()).hexdigest()[:6]
    _store(command, name, path, chosen)
    return name


def data_override(value: str) -> list[str]:
    """`data=PATH`, `data=[PATH,...]` or a sweep of paths as overrides of the group and its path."""
    items = [bare(item) for item in ELEMENT.findall(value)]
    if not any(items):
        raise ConfigError("data=: empty; give a path, hub:org/name, latest or an option of the group (--help)")
    if all(item in paths.groups()["data"] for item in items):
        return [f"data={value}"]
    if value.startswith("["):
        return data_of(items)
    return ["data=files", "data.path=" + ",".join(f"[{quoted(item)}]" for item in items)]


def data_of(items: list[Any], group: str = "data") -> list[str]:
    """The overrides that choose an option of a group; of `data` also paths."""
    if group != "data" or items[0] in paths.groups()["data"]:
        return [f"{group}={literal(items[0])}"]
    return ["data=files", f"data.path=[{','.join(quoted(str(item)) for item in items)}]"]


def _chosen(command: str, settings: list[str]) -> dict[str, str]:
    """group -> option as the command line chooses it; of a command with parts also part.group."""
    groups = groups_of(command)
    groups += [f"{stage}.{group}" for stage in paths.parts(command) for group in groups_of(stage)]
    given = {key.lstrip("+"): bare(value) for key, _, value in (setting.partition("=") for setting in settings)}
    own = paths.groups()["data"]
    return {
        key: "files" if key.endswith("data") and given[key] not in own else given[key] for key in groups if key in given
    }


def _store(command: str, name: str, path: Path, chosen: dict[str, str]) -> None:
    node = safety.read(path)
    _give_way(node, {key: option for key, option in chosen.items() if "." not in key})
    for stage in paths.parts(command):
        if isinstance(node.get(stage), dict):
            node[stage] = choices(stage, node[stage])
            _give_way(node[stage], {k[len(stage) + 1 :]: o for k, o in chosen.items() if k.startswith(f"{stage}.")})
    given = node.get("data")
    if isinstance(given, str | list):  # data: OPTION, data: PATH or data: [PATH,...]
        option = given if given in paths.groups()["data"] else "files"
        node["defaults"] = [*_defaults(node, path), {"override /data": option}]
        node["data"] = {} if given == option else {"path": given if isinstance(given, list) else [given]}
    ConfigStore.instance().store(group="conf", name=name, node=OmegaConf.create(node), package="_global_")


def _give_way(node: dict[str, Any], chosen: dict[str, str]) -> None:
    """Take out of a recipe what an option chosen on the command line stands for: the command line wins."""
    for group, option in chosen.items():
        given = node.get(group)
        if group == "data" and isinstance(given, str | list):
            del node[group]
        elif isinstance(given, dict):
            own = SOURCE if group == "data" else paths.telling(group)
            if group != "data" or given.get("name", option) != option:
                node[group] = {key: value for key, value in given.items() if key not in own}


def _defaults(node: dict[str, Any], path: Path) -> list[Any]:
    """The recipe's own defaults list, without `_self_`, which comes last anyway."""
    own = node.get("defaults", [])
    if not isinstance(own, list):
        raise ConfigError(f"{path}: defaults: {own!r} should be a list, such as [tiny, override /model: small]")
    return [item for item in own if item != "_self_"]
