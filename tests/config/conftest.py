"""A stage that computes nothing: what the command line does is seen in the run directories it leaves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmtrain.config import app
from llmtrain.config.paths import CONF
from llmtrain.launch import processes
from llmtrain.run import directory
from llmtrain.stages import preflight

Act = Callable[[Path, dict[str, Any]], float]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in, without the environment's own places."""
    monkeypatch.chdir(tmp_path)
    for name in ("LLMTRAIN_RUNS", "LLMTRAIN_CACHE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, dict[str, Any]]]:
    """Run directory and saved configuration of each job, in order. A job's metric is its learning rate.

    The models that a stage begins with are taken to be there.
    """
    jobs: list[tuple[Path, dict[str, Any]]] = []

    def execute(path: Path) -> dict[str, Any]:
        config = directory.read_config(path)
        jobs.append((path, config))
        value = config["optimizer"]["lr"]
        directory.write_result(path, "finished", "done", 3, {"eval/loss": value}, headline="eval/loss", value=value)
        return {"value": value}

    monkeypatch.setattr(processes, "execute", execute)
    monkeypatch.setattr(preflight, "_models", lambda *_: iter(()))
    return jobs


def conf(file: str) -> dict[str, Any]:
    """A file of conf/ as it is, so that tests follow the numbers that are tuned there."""
    return yaml.safe_load((CONF / f"{file}.yaml").read_text())


def run(command: str, *args: str) -> int:
    """The exit code of `llmtrain COMMAND ARGS`."""
    return app.main(command, list(args), f"llmtrain {command}")
