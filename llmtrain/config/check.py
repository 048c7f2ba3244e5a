"""From a mapping to the typed configuration: all faults at once, each with its place, its value and the remedy."""

import dataclasses
import difflib
import math
import re
from collections.abc import Collection
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from llmtrain.config.choices import Annotator, DataName, DPOLoss, Improve, KLName, ScheduleName, TokenizerName
from llmtrain.config.schema import COMMANDS, Common
from llmtrain.errors import ConfigError
from llmtrain.run import durable

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DURATION = re.compile(r"\d+(\.\d+)?\s*[smh]?")


def build(values: dict[str, Any], coming: Collection[str] = ()) -> Any:
    """The dataclass of `values["command"]`. Raises ConfigError that lists every fault.

    coming: paths of data.path that need not exist yet.
    """
    command = values.get("command")
    if command not in COMMANDS:
        raise ConfigError(f"command: {command!r} is none of {', '.join(COMMANDS)}")
    faults: list[str] = []
    config = _node(COMMANDS[command], values, "", faults)
    if not faults:
        faults += combinations(config) + missing_files(config, coming)
    if faults:
        raise ConfigError("\n".join(faults))
    return config


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
    hints = get_type_hints(cls)
    for key in values:
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, n=1)
            faults.append(f"{_join(at, key)}: there is no such key" + (f"; did you mean {near[0]}?" if near else ""))
    found = {}
    for field in dataclasses.fields(cls):
        where = _join(at, field.name)
        if field.name not in values or values[field.name] == "???":
            faults.append(f"{where}: not set; give {where}=VALUE")
            continue
        found[field.name] = _value(hints[field.name], values[field.name], where, field.metadata, faults)
    return cls(**found)


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
        return [_value(get_args(kind)[0], v, f"{at}[{i}]", {}, faults) for i, v in enumerate(value)]
    if get_origin(kind) is dict:
        if not isinstance(value, dict):
            faults.append(f"{at}: {value!r} should be a group of keys")
        return value
    return _scalar(kind, value, at, limits, faults)


def _scalar(kind: Any, value: Any, at: str, limits: Any, faults: list[str]) -> Any:
    if isinstance(kind, type) and issubclass(kind, Enum):
        names = [m.value for m in kind]
        text = value.value if isinstance(value, Enum) else value
        if text in names:
            return kind(text)
        near = difflib.get_close_matches(str(text), names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        faults.append(f"{at}: {text!r} is none of {', '.join(names)}{hint}")
        return None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        faults.append(f"{at}: {value!r} should be {words[kind]}")
        return None
    if isinstance(value, float) and not math.isfinite(value):
        faults.append(f"{at}: {value} is not a finite number")
    low, high = limits.get("low"), limits.get("high")
    if (low is not None and value < low) or (high is not None and value > high):
        span = f"at least {low}" if high is None else f"between {low} and {high}"
        faults.append(f"{at}: {value} must be {span}")
    return value


def combinations(config: Common) -> list[str]:
    """Faults that lie between keys, found without reading a file. A key that would do nothing is one."""
    faults = []
    if not NAME.fullmatch(config.run.name):
        faults.append(f"run.name: {config.run.name!r} may hold letters, digits, . _ - and at most 64 of them")
    for check in (_limits, _schedule, _data, _tokenizer, _model, _sample, _ppo, _kl, _dpo, _stop, _pipeline):
        faults += check(config)
    return faults


def _has(config: Common, *names: str) -> bool:
    fields = {f.name for f in dataclasses.fields(config)}
    return set(names) <= fields


def _limits(config: Any) -> list[str]:
    if not _has(config, "max_steps", "epochs"):
        return []
    faults = []
    if (config.max_steps is None) == (config.epochs is None):
        faults.append("max_steps, epochs: set one of them, and the other to null")
    if config.epochs is not None and config.epochs <= 0:
        faults.append(f"epochs: {config.epochs} must be more than 0")
    if config.max_time is not None and not DURATION.fullmatch(config.max_time.strip()):
        faults.append(f"max_time: {config.max_time!r} is not a duration; write 90s, 15m or 2h")
    if config.optimizer.beta1 >= 1 or config.optimizer.beta2 >= 1:
        faults.append("optimizer.beta1, optimizer.beta2: must be less than 1")
    if config.optimizer.clip_norm <= 0:
        faults.append("optimizer.clip_norm: must be more than 0; a large number clips nothing")
    return faults


def _schedule(config: Any) -> list[str]:
    if not _has(config, "schedule"):
        return []
    s, faults = config.schedule, []
    if s.name is not ScheduleName.wsd and s.decay:
        faults.append(f"schedule.decay: {s.decay} does nothing with schedule.name={s.name.value}; set it to 0")
    if s.name is ScheduleName.constant and s.final != 1:
        faults.append(f"schedule.final: {s.final} does nothing with schedule.name=constant; set it to 1")
    if s.warmup + s.decay > 1:
        faults.append(f"schedule.warmup, schedule.decay: {s.warmup} + {s.decay} is more than the whole run")
    return faults


def _data(config: Any) -> list[str]:
    if not _has(config, "data"):
        return []
    data, faults = config.data, []
    if data.name is DataName.microworld:
        if data.path:
            faults.append(f"data.path: {data.path} does nothing with data.name=microworld; give data=PATH instead")
        if data.text_column is not None:
            faults.append("data.text_column: does nothing with data.name=microworld; set it to null")
        faults += [
            f"data.{key}: not set; the microworld needs it" for key in ("rows", "world") if _get(data, key) is None
        ]
    elif not data.path:
        faults.append("data.path: empty; give files, folders, hub:org/name or latest")
    return faults


def missing_files(config: Any, coming: Collection[str]) -> list[str]:
    """Files and folders of data.path that are not there."""
    given = config.data.path if _has(config, "data") else []
    local = [p for p in given if not p.startswith("hub:") and p != "latest" and p not in coming]
    return [f"data.path: {p}: no such file or folder" for p in local if not durable.exists(Path(p).expanduser())]


def _get(node: Any, key: str) -> Any:
    return {f.name: getattr(node, f.name) for f in dataclasses.fields(node)}[key]


def _tokenizer(config: Any) -> list[str]:
    if not _has(config, "tokenizer"):
        return []
    t, faults = config.tokenizer, []
    if (t.name is TokenizerName.file) != (t.path is not None):
        faults.append(f"tokenizer.path: {t.path!r} goes with tokenizer.name=file, and only with it")
    if t.name is not TokenizerName.bpe and t.vocab_size:
        faults.append(
            f"tokenizer.vocab_size: {t.vocab_size} does nothing with tokenizer.name={t.name.value}; set it to 0"
        )
    if t.name is TokenizerName.bpe and t.vocab_size < 261:
        faults.append(f"tokenizer.vocab_size: {t.vocab_size} is less than the 256 bytes and 5 control tokens")
    return faults


def _model(config: Any) -> list[str]:
    if not _has(config, "model"):
        return []
    m, faults = config.model, []
    if m.width % m.heads:
        faults.append(f"model.width: {m.width} is not a multiple of model.heads={m.heads}")
    elif m.name.value == "llama" and (m.width // m.heads) % 2:
        faults.append(
            f"model.width: {m.width} / model.heads={m.heads} is odd; rotary positions need an even head width"
        )
    if config.data.max_length > m.context:
        faults.append(f"data.max_length: {config.data.max_length} is more than model.context={m.context}")
    if config.sampling.max_new_tokens >= m.context:
        faults.append(f"sampling.max_new_tokens: must be less than model.context={m.context}")
    return faults


def _sample(config: Any) -> list[str]:
    if not _has(config, "foreign"):
        return []
    faults = []
    if config.annotate is Annotator.none:
        if config.foreign:
            faults.append(f"foreign: {config.foreign} does nothing with annotate=none; set it to 0")
    elif config.data.name is not DataName.microworld:
        faults.append(f"annotate: {config.annotate.value} needs the gold graders of data=microworld; set it to none")
    if config.answers > 1 and config.sampling.temperature == 0:
        faults.append(f"sampling.temperature: 0 makes all {config.answers} answers the same; raise it, or answers=1")
    return faults


def _pipeline(config: Any) -> list[str]:
    """Overrides of a stage that this pipeline does not have would do nothing."""
    if not _has(config, "improve"):
        return []
    unused = ["dpo"] if config.improve is Improve.ppo else ["reward", "ppo"]
    faults = [f"{s}: does nothing with improve={config.improve.value}; drop {s}.*" for s in unused if _get(config, s)]
    if config.annotate is Annotator.none:
        if config.sample:
            faults.append("sample: does nothing with annotate=none; drop sample.*")
        if config.rounds > 1:
            faults.append(f"rounds: {config.rounds} rounds need new rankings each; set annotate, or rounds=1")
    return faults


def _ppo(config: Any) -> list[str]:
    if not _has(config, "minibatches"):
        return []
    faults = []
    if config.batch.rows % config.minibatches:
        faults.append(f"minibatches: {config.minibatches} does not divide batch.rows={config.batch.rows}")
    if config.sampling.temperature <= 0:
        faults.append("sampling.temperature: PPO samples; it must be more than 0")
    return faults


def _kl(config: Any) -> list[str]:
    if not _has(config, "kl"):
        return []
    kl = config.kl
    if kl.name is KLName.adaptive and kl.target <= 0:
        return ["kl.target: must be more than 0 with kl.name=adaptive"]
    return []


def _dpo(config: Any) -> list[str]:
    if not _has(config, "label_smoothing"):
        return []
    faults = []
    if config.label_smoothing and config.loss not in (DPOLoss.conservative, DPOLoss.robust):
        faults.append(
            f"label_smoothing: {config.label_smoothing} does nothing with loss={config.loss.value}; set it to 0"
        )
    if config.loss is DPOLoss.robust and config.label_smoothing >= 0.5:
        faults.append("label_smoothing: must be less than 0.5 with loss=robust")
    if config.beta <= 0:
        faults.append("beta: must be more than 0")
    return faults


def _stop(config: Any) -> list[str]:
    if not _has(config, "stop") or config.stop.metric is None or not config.stop.metric.startswith("gold/"):
        return []
    if config.data.world is None:
        return [f"stop.metric: {config.stop.metric} needs gold graders; set data.world, or choose another metric"]
    return []
