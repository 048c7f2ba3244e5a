"""Stages that run inside another run: of a pipeline, and the sampling of rank. No torch here."""

from pathlib import Path
from typing import Any

from llmtrain.config.check import mapping
from llmtrain.config.compose import stage_recipe
from llmtrain.errors import TrainingError
from llmtrain.launch.processes import execute
from llmtrain.run import directory
from llmtrain.stages.plan import Step

DONE = ("finished", "stopped")


def finished(path: Path) -> dict[str, Any] | None:
    """The record of a stage that is done."""
    record = directory.read_result(path)
    return record if record and record["status"] in DONE else None


def begin(path: Path, step: Step) -> dict[str, Any]:
    """Start a stage, or go on with it."""
    if not (path / "config.yaml").is_file():
        directory.create(path, mapping(step.config), [], stage_recipe(step.command, step.recipe))
    record = execute(path)
    if record.get("status") not in DONE:
        raise TrainingError(f"{step.name} ended as {record.get('status')}: {record.get('reason')}")
    return record
