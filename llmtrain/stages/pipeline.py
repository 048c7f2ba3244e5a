"""pipeline: every stage in one run tree, each finding the one before; resume goes on at the unfinished one.

<run>/{pretrain,sft,sample,reward,ppo}     rounds=2: sample-1, reward-1, ppo-1 come before the last round's
<run>/eval-{pretrain,sft,ppo}              the held-out prompts answered by each
<run>/hhh.json hhh.png samples.md
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from llmtrain.config.app import compose_stage
from llmtrain.config.check import mapping
from llmtrain.config.schema import Annotator, DataName, Pipeline
from llmtrain.errors import TrainingError
from llmtrain.evaluate import hhh
from llmtrain.launch.processes import execute
from llmtrain.run import directory, lineage
from llmtrain.run.session import Session
from llmtrain.stages import setup

log = logging.getLogger("llmtrain")

DONE = ("finished", "stopped")
SHOWN = 4  # prompts of each H in samples.md


@dataclass(frozen=True)
class Step:
    """One stage of the path: where it runs, and its whole configuration."""

    name: str
    command: str
    config: Any


def run(config: Pipeline, path: Path) -> dict:
    """Run what is not finished yet; returns the result record."""
    steps = plan(config, path)
    mesh = setup.mesh_of(config)
    with Session(path, "pipeline", mesh) as session:
        lineage.write(path, {}, {})
        results = {}
        for number, step in enumerate(steps, 1):
            log.info("stage %d of %d: %s", number, len(steps), step.name)
            results[step.name] = finished(path / step.name) or begin(path / step.name, step)
            session.poll()
        rates = {name.removeprefix("eval-"): r["hhh"] for name, r in results.items() if "hhh" in r}
        summary(path, results, rates)
        metrics = {f"{stage}/{h}": v["rate"] for stage, values in rates.items() for h, v in values.items()}
        last = config.improve.value
        if rates:
            metrics["gold/min"] = min(v["rate"] for v in rates[last].values())
        value = metrics.get("gold/min", results[last]["value"])
        return session.finish(
            "finished", f"{len(steps)} stages done", len(steps), metrics, headline="gold/min", value=value, hhh=rates
        )


def plan(config: Pipeline, path: Path) -> list[Step]:
    """The stages in order. All are composed and checked before the first one computes; raises ConfigError."""
    steps: list[Step] = []
    own: dict[str, dict[str, Any]] = {
        command: getattr(config, command) for command in ("pretrain", "sft", "sample", "reward", "ppo", "dpo", "eval")
    }

    def add(name: str, command: str, **links: Any) -> str:
        shared = {"seed": config.seed, "run": {"root": config.run.root, "name": config.run.name}}
        launch = {"launch": mapping(config.launch), "log": mapping(config.log)}
        overrides = merged(shared | launch, own[command], links)
        steps.append(Step(name, command, compose_stage(command, config.recipe, overrides, rankings)))
        return str(path / name)

    rankings: list[str] = []
    evaluated = [add("pretrain", "pretrain")]
    sft = newest = add("sft", "sft", init=evaluated[0])
    evaluated.append(sft)
    for number in range(1, config.rounds + 1):
        mark = "" if number == config.rounds else f"-{number}"
        given: dict[str, Any] = {}
        if config.annotate is not Annotator.none:
            rankings.append(
                add(f"sample{mark}", "sample", init=newest, annotate=config.annotate.value, seed=config.seed + number)
            )
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
    return steps


def own_world(steps: list[Step]) -> bool:
    """Whether the demonstrations come from the microworld, whose test prompts have gold graders."""
    return next(s for s in steps if s.command == "sft").config.data.name is DataName.microworld


def merged(*parts: dict[str, Any]) -> dict[str, Any]:
    """Nested mappings, the later ones winning."""
    out: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            both = isinstance(value, dict) and isinstance(out.get(key), dict)
            out[key] = merged(out[key], value) if both else value
    return out


def finished(path: Path) -> dict[str, Any] | None:
    """The record of a stage that is done."""
    record = directory.read_result(path)
    return record if record and record["status"] in DONE else None


def begin(path: Path, step: Step) -> dict[str, Any]:
    """Start a stage, or go on with it."""
    if not (path / "config.yaml").is_file():
        directory.create(path, mapping(step.config), argv=[])
    record = execute(path)
    if record.get("status") not in DONE:
        raise TrainingError(f"{step.name} ended as {record.get('status')}: {record.get('reason')}")
    return record


def summary(path: Path, results: dict[str, dict], rates: dict[str, hhh.Rates]) -> None:
    """The tables at the end, and the files beside them."""
    console = Console()
    view = Table(title="stages", title_justify="left")
    for column in ("stage", "ended", "step", "headline", "seconds"):
        view.add_column(column, justify="right" if column in ("step", "seconds") else "left")
    for name, record in results.items():
        value = record.get("value")
        headline = (
            f"{record.get('headline', '')} {value:.3f}" if isinstance(value, float) else record.get("headline", "")
        )
        view.add_row(name, record["reason"], str(record["step"]), headline, f"{record['seconds']:.0f}")
    console.print(view)
    if rates:
        hhh.save(rates, path)
        console.print(hhh.table(rates))
        (path / "samples.md").write_text(before_and_after(path, list(rates)), encoding="utf-8")
        console.print(f"picture: {path / 'hhh.png'}   before and after: {path / 'samples.md'}")
    console.print(f"everything: {path}   tree of runs: llmtrain runs")


def before_and_after(path: Path, stages: list[str]) -> str:
    """The same held-out prompts answered by every stage, as Markdown."""
    answers = {
        stage: [json.loads(line) for line in (path / f"eval-{stage}" / "answers.jsonl").read_text().splitlines()]
        for stage in stages
    }
    lines = ["# The same held-out prompts, answered by every stage", ""]
    for h in hhh.H:
        lines += [f"## {h}", "", "| prompt | " + " | ".join(stages) + " |", "|---" * (len(stages) + 1) + "|"]
        rows = [i for i, row in enumerate(answers[stages[0]]) if row["h"] == h][:SHOWN]
        for i in rows:
            cells = [answers[stages[0]][i]["prompt"], *(answers[stage][i]["answer"] for stage in stages)]
            lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)
