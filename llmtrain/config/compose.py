"""Composing a configuration with Hydra, beside whatever job is running, and checking it."""

import logging
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from llmtrain.config import paths, recipes
from llmtrain.config.check import build
from llmtrain.config.paths import CONF
from llmtrain.errors import ConfigError, UsageError
from llmtrain.run import directory

log = logging.getLogger("llmtrain")
ENVIRONMENT = ("LLMTRAIN_RUNS", "LLMTRAIN_CACHE")


def compose_stage(command: str, recipe: str, overrides: dict[str, Any], coming: Collection[str] | None = ()) -> Any:
    """The checked configuration of a stage: its recipe (a name, or a YAML file) under nested overrides.

    coming: paths that an earlier stage will have made by then; None: any.

    Raises ConfigError whose keys begin with the stage.
    """
    register()
    given = [f"conf={recipe}", *recipes.flat(recipes.choices(command, overrides))]
    with recipes.apart():
        try:
            return composed(command, recipes.resolve(command, given), coming)
        except UsageError as error:
            keys = r"(^|give |mean |set )(?=[a-z_]+[.=:,])|(no such key; did you mean )"
            own = re.sub(keys, rf"\1\2{command}.", str(error), flags=re.MULTILINE)
            raise ConfigError(f"{command} (conf={recipe}):\n{own}") from None


def recipe_of(command: str, settings: list[str]) -> dict[str, Any]:
    """What the recipe among the settings gives alone, for the record: its name, "" for none, and its values.

    {} where that cannot be told: a launcher's other process knows no recipe that is a file.
    """
    chosen = [setting for setting in settings if setting.lstrip("+~").partition("=")[0] == "conf"]
    name = chosen[-1].partition("=")[2] if chosen else paths.defaults(command).get("conf", "")
    try:
        with beside():
            values = OmegaConf.to_container(compose(command, chosen), resolve=True, throw_on_missing=False)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        log.debug("the recipe of %s is not recorded: %s", command, error)
        return {}
    return {"conf": name, "values": values}


def stage_recipe(command: str, recipe: str) -> dict[str, Any]:
    """The same for a stage of a pipeline."""
    with recipes.apart():
        return recipe_of(command, recipes.resolve(command, [f"conf={recipe}"]))


def composed(command: str, settings: list[str], coming: Collection[str] | None = ()) -> Any:
    """Compose beside Hydra's own job and check. Raises ConfigError with all faults."""
    faults = recipes.faulty_options(command, settings)
    given = [_forced(command, setting) for setting in settings if setting not in faults]
    told = list(faults.values())
    try:
        with beside():
            config = typed(compose(command, given), command, coming)
    except ConfigError as error:
        told.append(str(error))
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        told.append(explain(error))
    if told:
        raise ConfigError("\n".join(dict.fromkeys(told)))
    return config


def _forced(command: str, setting: str) -> str:
    """Keys that nobody knows are added, so that check.py tells all of them at once, each with the nearest name."""
    key = setting.lstrip("+").partition("=")[0]
    is_group = key in ("conf", *recipes.groups_of(command))
    return setting if is_group or setting.startswith("~") else "++" + setting.lstrip("+")


@contextmanager
def beside() -> Iterator[None]:
    """Hydra's Compose API, whatever job is running: a pipeline composes its stages inside its own."""
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = running


def typed(config: DictConfig, command: str, coming: Collection[str] | None = ()) -> Any:
    """The dataclass of a composed configuration. Raises ConfigError with all faults."""
    values = OmegaConf.to_container(config, resolve=True, throw_on_missing=False, enum_to_str=True)
    assert isinstance(values, dict)
    plain = {str(key): value for key, value in values.items() if key not in ("hydra", "conf")}
    if plain.get("command") != command:
        own = plain.get("command")
        raise ConfigError(f"command: this is a configuration of {own!r}, not of {command!r}; use llmtrain {own}")
    return build(plain, coming)


def register() -> None:
    OmegaConf.register_new_resolver("slug", directory.slug, replace=True)
    OmegaConf.register_new_resolver("oc.env", _environment, replace=True)


def _environment(name: str, default: str | None = None) -> str | None:
    """What ${oc.env:..} gives. A configuration is saved, so no other variable gets in. Raises ConfigError."""
    if name not in ENVIRONMENT:
        raise ConfigError(
            f"oc.env: {name} does not go into a configuration, which is saved (only {', '.join(ENVIRONMENT)})"
        )
    return os.environ.get(name, default)


def explain(error: Exception) -> str:
    """A composition error in a few lines: what, where, and the remedy."""
    cause = error.__cause__ or error.__context__
    text = str(error).split("Config search path:")[0].split("    full_key:")[0]
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("To append to your config")]
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        lines = [f"{error.full_key}: {lines[0]}; a recipe refers to other keys of its own as ${{data.rows}}"]
    elif isinstance(cause, OmegaConfBaseException):
        lines[1:] = [str(cause).splitlines()[0]]
    group = re.search(r"In 'conf/.*': Could not find 'conf/(\w+)/(.+)'", text)
    if group:
        lines.append(f"a recipe changes a group with `- override /{group[1]}: {group[2]}`")
    recipe = re.search(r"In 'conf/(.*)': Could not load 'conf/(.+)'", text)
    if recipe:
        lines = [
            f"{recipe[1]}: defaults: {recipe[2]}: no such recipe; a defaults list names shipped ones (--help); put "
            f"your own files side by side: conf=[{recipe[2]}.yaml,{recipe[1]}.yaml]"
        ]
    return "\n".join(line for line in lines if line)
