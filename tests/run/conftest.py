"""Runs for tests."""

from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoint_fakes import save

from llmtrain.run import directory
from llmtrain.run.checkpoints import Checkpoints


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", keep_last=2, keep_best=0)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """make_run("sft", "20260101-000000-000001", steps=(5,), status="finished") -> a run directory under runs/."""

    def make(
        command: str,
        run_id: str,
        *,
        name: str = "demo",
        steps: tuple[int, ...] = (5,),
        status: str | None = "finished",
        metrics: tuple[float, ...] = (),
        inside: str = "",
    ) -> Path:
        path = tmp_path / "runs" / (inside or command) / name / run_id / (command if inside else "")
        directory.create(path, {"command": command, "run": {"name": name}}, argv=[command])
        kept = Checkpoints(path / "checkpoints", keep_last=9, keep_best=1 if metrics else 0)
        for number, step in enumerate(steps):
            save(kept, step, metrics[number] if metrics else None)
        if status:
            directory.write_result(
                path, status, "because", max(steps, default=0), {"eval/loss": 1.5}, headline="eval/loss"
            )
        return path

    return make
