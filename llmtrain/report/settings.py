"""The configuration of a run beside the recipe's, and what sets several runs apart."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llmtrain.report.collect import Run, leaves, mapping

MOST = 400  # keys of a configuration that are shown
AROUND = ("command", "run.", "log.", "launch.", "data.cache")  # beginnings of keys that change no number


@dataclass(frozen=True)
class Setting:
    """A key, its value and, where that differs from the recipe's, the recipe's."""

    key: str
    value: str
    recipe: str | None = None


@dataclass(frozen=True)
class Settings:
    """recipe: the name of what the run was composed from, "" where that was not recorded."""

    recipe: str
    changed: list[Setting]
    all: list[Setting]


def settings(run: Run) -> Settings:
    """All keys of a run. Of one of an earlier version what differs is not known, and nothing is said to."""
    recorded = mapping(run.lineage.get("recipe"))
    before = mapping(recorded.get("values"))
    rows = [
        Setting(key, written(value), written(before[key]) if key in before else None)
        for key, value in list(leaves(run.config))[:MOST]
    ]
    return Settings(str(recorded.get("conf") or ""), [row for row in rows if row.recipe is not None], rows)


def apart(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """The keys in which the configurations of several runs differ, with the value of each run, but for AROUND."""
    every = [dict(leaves(run.config)) for run in runs]
    keys = [key for key in dict.fromkeys(key for own in every for key in own) if not key.startswith(AROUND)]
    told = [(key, [written(own[key]) if key in own else "" for own in every]) for key in keys]
    return [(key, values) for key, values in told if len(set(values)) > 1][:MOST]


def varied(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """What a sweep varied: the overrides on whose values its jobs differ, with the value of each job; [] if unknown."""
    every = [dict(_overrides(run)) for run in runs]
    keys = dict.fromkeys(key for own in every for key in own)
    told = [(key, [own.get(key, "") for own in every]) for key in keys]
    return [(key, values) for key, values in told if len(set(values)) > 1][:MOST]


def _overrides(run: Run) -> Iterator[tuple[str, str]]:
    argv = run.lineage.get("argv")
    for word in map(str, argv[1:] if isinstance(argv, list) else []):
        key, equals, value = word.lstrip("+").partition("=")
        if equals:
            yield key, value


def written(value: Any) -> str:
    """A value as YAML would show it in a line."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value, ensure_ascii=False, default=str)
