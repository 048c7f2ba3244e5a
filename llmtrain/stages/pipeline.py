"""pipeline: every stage in one run tree, each finding the one before; resume goes on at the unfinished one.

<run>/{pretrain,sft,sample,reward,ppo}     rounds=2: sample-1, reward-1, ppo-1 come before the last round's
<run>/eval-{pretrain,sft,ppo}              the held-out prompts answered by each
<run>/hhh.json hhh.png samples.md
"""

import json
import logging
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from llmtrain.config.schema import Pipeline
from llmtrain.errors import Interrupted
from llmtrain.evaluate import hhh, sidebyside
from llmtrain.run import lineage
from llmtrain.run.session import Session, StopAsked
from llmtrain.stages import setup
from llmtrain.stages.inside import begin, finished
from llmtrain.stages.plan import Step, plan

log = logging.getLogger("llmtrain")

SHOWN = 4  # prompts of each H in samples.md


def run(config: Pipeline, path: Path) -> dict:
    """Run what is not finished yet; returns the result record."""
    steps = plan(config, path)
    mesh = setup.mesh_of(config)
    with Session(path, "pipeline", mesh) as session:
        lineage.write(path, {}, {})
        results = {step.name: _result(session, step, f"stage {n} of {len(steps)}") for n, step in enumerate(steps, 1)}
        rates = {name.removeprefix("eval-"): only(r["hhh"]) for name, r in results.items() if "hhh" in r}
        summary(path, results, rates)
        metrics = {f"{stage}/{h}": v["rate"] for stage, values in rates.items() for h, v in values.items()}
        last = config.improve.value
        if rates:
            metrics["gold/min"] = min(v["rate"] for v in rates[last].values())
        value = metrics.get("gold/min", results[last]["value"])
        return session.finish(
            "finished",
            f"{len(steps)} stages done",
            len(steps),
            metrics,
            headline="gold/min",
            value=value,
            hhh=rates,
            findings=[{"stage": name, **found} for name, r in results.items() for found in r.get("findings", [])],
        )


def _result(session: Session, step: Step, place: str) -> dict[str, Any]:
    """The record of a stage, run unless it is done. A signal names the run to go on with: the pipeline's."""
    path = session.path / step.name
    try:
        session.poll()
        log.info("%s: %s", place, step.name)
        return finished(path) or begin(path, step)
    except StopAsked as asked:
        raise Interrupted(asked.signal, f"before {step.name}; go on with: {session.resume_command}") from None
    except Interrupted as error:
        kept = str(error).rpartition(";")[0] or "stopped"
        raise Interrupted(error.signal, f"{step.name}: {kept}; go on with: {session.resume_command}") from None


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
    for name, record in results.items():
        for found in record.get("findings", []):  # none in runs of an earlier version
            console.print(f"doctor: {name}: {found['name']}: {found['says']}; try {found['try']}", markup=False)
    if rates:
        hhh.save(rates, path)
        console.print(hhh.table(rates))
        (path / "samples.md").write_text(before_and_after(path, list(rates)), encoding="utf-8")
        console.print(f"picture: {path / 'hhh.png'}   before and after: {path / 'samples.md'}")
    console.print(f"everything: {path}   tree of runs: llmtrain runs")


def before_and_after(path: Path, stages: list[str]) -> str:
    """The same held-out prompts answered by every stage, as Markdown."""
    files = {stage: path / f"eval-{stage}" / "answers.jsonl" for stage in stages}
    read = {stage: [json.loads(line) for line in file.read_text("utf-8").splitlines()] for stage, file in files.items()}
    rows = [
        row | {"answers": {stage: only(read[stage][n]["answers"]) for stage in stages}}
        for n, row in enumerate(read[stages[0]])
    ]
    return sidebyside.markdown(rows, SHOWN)


def only(of_models: dict[str, Any]) -> Any:
    """What an eval of one model says of it."""
    (value,) = of_models.values()
    return value
