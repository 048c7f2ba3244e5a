"""From a mapping to the typed configuration: all faults at once, each with its place, its value and the remedy."""

import dataclasses
import math
import re
from collections.abc import Collection, Iterator
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from llmtrain.config import names
from llmtrain.config.combinations import combinations
from llmtrain.config.schema import COMMANDS
from llmtrain.errors import ConfigError
from llmtrain.run import durable

ADDED = {
    "log.report": False,
    "log.trackio": False,
    "launch.tune": True,  # no number depends on it
    "adapter": {"rank": 0, "alpha": None, "targets": []},
}  # keys that came later -> what runs did before: their config.yaml stays a configuration


def build(values: dict[str, Any], coming: Collection[str] | None = ()) -> Any:
    """The dataclass of `values["command"]`. Raises ConfigError that lists every fault.

    coming: paths of data.path that need not exist yet; None: none of them.
    """
    command = values.get("command")
    if command not in COMMANDS:
        raise ConfigError(f"command: {command!r} is none of {', '.join(COMMANDS)}")
    faults: list[str] = []
    config = _node(COMMANDS[command], values, "", faults)
    unsound = {re.split(r"[.:[]", fault)[0] for fault in faults}
    extra = [_unknown(str(command), key) for key in _extra(COMMANDS[command], values, "")]
    faults = [*extra, *faults, *combinations(config, unsound)]
    if "data" not in unsound and coming is not None:
        faults += missing_files(config, coming)
    if faults:
        raise ConfigError("\n".join(faults))
    return config


def missing_files(config: Any, coming: Collection[str]) -> list[str]:
    """Files and folders of data.path that are not there."""
    given = config.data.path if "data" in get_type_hints(type(config)) else []
    local = [p for p in given if p.strip() and not p.startswith("hub:") and p != "latest" and p not in coming]
    return [f"data.path: {p}: no such file or folder" for p in local if not durable.exists(Path(p).expanduser())]


def mapping(config: Any) -> Any:
    """A typed configuration as plain data, the inverse of `build`."""
    if isinstance(config, Enum):
        return config.value
    if dataclasses.is_dataclass(config):
        return {f.name: mapping(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, list):
        return [mapping(item) for item in config]
    if isinstance(config, dict):
        return {key: mapping(value) for key, value in config.items()}
    return config


def _node(cls: type, values: Any, at: str, faults: list[str]) -> Any:
    if not isinstance(values, dict):
        faults.append(f"{at}: {values!r} should be a group of keys")
        return None
    hints, found = get_type_hints(cls), {}
    for field in dataclasses.fields(cls):
        where = _join(at, field.name)
        value = values.get(field.name, ADDED.get(where, "???"))
        if value == "???":
            faults.append(f"{where}: not set; give {where}=VALUE")
        found[field.name] = None if value == "???" else _value(hints[field.name], value, where, field.metadata, faults)
    return cls(**found)


def _extra(cls: type, values: dict[str, Any], at: str) -> Iterator[str]:
    """The keys that the schema does not know."""
    hints = get_type_hints(cls)
    for key, value in values.items():
        if key not in hints:
            yield _join(at, str(key))
        elif dataclasses.is_dataclass(hints[key]) and isinstance(value, dict):
            yield from _extra(hints[key], value, _join(at, key))


def _unknown(command: str, key: str) -> str:
    if key in names.known(command):  # only a recipe can hold a key with a dot in it
        above, _, leaf = key.rpartition(".")
        return f"{key}: write it nested: {above.replace('.', ': {')}: {{{leaf}: VALUE}}{'}' * above.count('.')}"
    return names.unknown(command, key)


def _join(at: str, key: str) -> str:
    return f"{at}.{key}" if at else str(key)


def _value(kind: Any, value: Any, at: str, limits: Any, faults: list[str]) -> Any:
    """One value as `kind`: a type, an Enum, X | None, list[X], dict[str, Any] or a node."""
    if get_origin(kind) in (Union, UnionType):
        inner = [k for k in get_args(kind) if k is not type(None)][0]
        return None if value is None else _value(inner, value, at, limits, faults)
    if dataclasses.is_dataclass(kind):
        return _node(kind, value, at, faults)  # type: ignore[arg-type]
    if get_origin(kind) is list:
        if not isinstance(value, list):
            faults.append(f"{at}: {value!r} should be a list, such as {at}=[a,b]")
            return None
        return [_value(get_args(kind)[0], v, f"{at}[{i}]", {"blank": True}, faults) for i, v in enumerate(value)]
    if get_origin(kind) is dict:
        if not isinstance(value, dict):
            faults.append(f"{at}: {value!r} should be a group of keys")
        return value
    return _scalar(kind, value, at, limits, faults)


def _scalar(kind: Any, value: Any, at: str, limits: Any, faults: list[str]) -> Any:
    if isinstance(kind, type) and issubclass(kind, Enum):
        words = [m.value for m in kind]
        text = value.value if isinstance(value, Enum) else value
        if text in words:
            return kind(text)
        faults.append(f"{at}: {text!r} is none of {', '.join(words)}{names.meant(str(text), words)}")
        return None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        kinds = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        quote = f"; quote it: '{at}=\"{value}\"'" if kind is str and isinstance(value, int | float) else ""
        faults.append(f"{at}: {value!r} should be {kinds[kind]}{quote}")
        return None
    faults += [f"{at}: {fault}" for fault in _out_of_range(value, **limits)]
    return value


def _out_of_range(value: Any, *, blank: bool = False, **limits: float | None) -> list[str]:
    if isinstance(value, str):
        return [] if value.strip() or blank else ["is empty; give a value"]
    if isinstance(value, float) and not math.isfinite(value):
        return [f"{value} is not a finite number"]
    low, high, above, below = (limits.get(name) for name in ("low", "high", "above", "below"))
    faults = []
    if (low is not None and value < low) or (high is not None and value > high):
        faults.append(f"{value} must be " + (f"at least {low}" if high is None else f"between {low} and {high}"))
    if above is not None and value <= above:
        faults.append(f"{value} must be more than {above}")
    if below is not None and value >= below:
        faults.append(f"{value} must be less than {below}")
    return faults
