"""The stages of a pipeline, each with its whole configuration, composed before the first computes. No torch here."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmtrain.config.check import mapping
from llmtrain.config.choices import DataName, Ranker
from llmtrain.config.compose import compose_stage
from llmtrain.config.paths import STAGES
from llmtrain.config.schema import Pipeline, Rank
from llmtrain.errors import ConfigError
from llmtrain.stages import outputs


@dataclass(frozen=True)
class Step:
    """One stage of the path: where it runs, its whole configuration, and the recipe that was composed from."""

    name: str
    command: str
    config: Any
    recipe: str = ""


def steps_of(command: str, config: Any, path: Path) -> list[Step]:
    """What a command runs: the stages of a pipeline, what rank samples first and itself, else itself alone."""
    if command == "pipeline":
        return plan(config, path)
    own = Step(command, command, config)
    return [*sampling(config), own] if command == "rank" else [own]


def sampling(config: Rank) -> list[Step]:
    """The stage that samples what is ranked, where models are named. Raises ConfigError."""
    models = outputs.named(config).models
    if not models:
        return []
    links = outputs.sampling(config, models)
    ours = [f"sample.{key}: is set by rank; drop it" for key in taken(config.sample, links)]
    if ours:
        raise ConfigError("\n".join(ours))
    run = {"run": {"root": config.run.root, "name": config.run.name}}
    shared = {"seed": config.seed, "launch": mapping(config.launch), "log": mapping(config.log)}
    composed = compose_stage("sample", config.recipe, merged(shared, config.sample, run, links))
    return [Step("sample", "sample", composed)]


def plan(config: Pipeline, path: Path) -> list[Step]:
    """The stages in order. Raises ConfigError with the faults of all of them."""
    steps: list[Step] = []
    faults: dict[str, None] = {}  # in order, and once: the rounds share theirs
    own: dict[str, dict[str, Any]] = {command: getattr(config, command) for command in STAGES}

    def add(name: str, command: str, **links: Any) -> str:
        run = {"run": {"root": config.run.root, "name": config.run.name}}
        shared = {"seed": config.seed, "launch": mapping(config.launch), "log": mapping(config.log)}
        fixed = run | links | ({"models": ""} if command == "eval" else {})
        ours = [f"{command}.{key}: is set by the pipeline; drop it" for key in taken(own[command], fixed)]
        if ours:  # what else is wrong may come of it
            faults.update(dict.fromkeys(ours))
            return str(path / name)
        try:
            composed = compose_stage(command, config.recipe, merged(shared, own[command], run, links), rankings)
            steps.append(Step(name, command, composed, config.recipe))
        except ConfigError as error:
            faults[str(error)] = None
        return str(path / name)

    rankings: list[str] = []
    evaluated = [add("pretrain", "pretrain")]
    sft = newest = add("sft", "sft", init=evaluated[0])
    evaluated.append(sft)
    for number in range(1, config.rounds + 1):
        mark = "" if number == config.rounds else f"-{number}"
        given: dict[str, Any] = {}
        if config.annotate is Ranker.people:
            asked = add(f"sample{mark}", "sample", init=newest, seed=config.seed + number, **outputs.UNRANKED)
            rankings.append(add(f"rank{mark}", "rank", sources=[asked], recipe=config.recipe))
        elif config.annotate is Ranker.simulated:
            rankings.append(
                add(f"sample{mark}", "sample", init=newest, annotate="simulated", seed=config.seed + number)
            )
        if rankings:
            given = {"data": {"path": list(rankings)}}
        if config.improve.value == "dpo":
            newest = add(f"dpo{mark}", "dpo", init=newest, **given)
        else:
            judge = add(f"reward{mark}", "reward", init=sft, **given)
            newest = add(f"ppo{mark}", "ppo", init=newest, reference=sft, judge={"init": judge})
    evaluated.append(newest)
    if own_world(steps):
        for place in evaluated:
            add(f"eval-{Path(place).name}", "eval", init=place)
    worlds = {
        f"{s.command}.data.world": s.config.data.world
        for s in steps
        if s.command != "rank" and s.config.data.world is not None
    }
    if len(set(worlds.values())) > 1:
        told = ", ".join(f"{key}={world}" for key, world in worlds.items())
        faults[f"{told}: what one world teaches the graders of another refuse; give all the same"] = None
    if faults:
        raise ConfigError("\n".join(faults))
    return steps


def own_world(steps: list[Step]) -> bool:
    """Whether the demonstrations come from the microworld, whose test prompts have gold graders."""
    return any(s.command == "sft" and s.config.data.name is DataName.microworld for s in steps)


def taken(given: dict[str, Any], links: dict[str, Any]) -> list[str]:
    """The keys of `given` that `links` would overwrite; a choice of a group counts as the whole group."""
    fixed = [f"{key}." for key in leaves(links)]
    keys = [key.removeprefix("choose.") for key in leaves(given)]
    return [key for key in keys if any(link.startswith(f"{key}.") for link in fixed)]


def leaves(values: dict[str, Any], at: str = "") -> Iterator[str]:
    """The dotted keys of nested mappings."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{at}{key}.")
        else:
            yield f"{at}{key}"


def merged(*parts: dict[str, Any]) -> dict[str, Any]:
    """Nested mappings, the later ones winning."""
    out: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            both = isinstance(value, dict) and isinstance(out.get(key), dict)
            out[key] = merged(out[key], value) if both else value
    return out
