"""Two gloo processes on the loopback interface compute what one does (F10, design 7.11)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from llmtrain.errors import TrainingError
from llmtrain.launch import processes
from llmtrain.run import metrics

CODE = "import sys; from pathlib import Path; from llmtrain.launch.processes import execute; execute(Path(sys.argv[1]))"
ROOT = Path(tiny.__file__).parent.parent


@pytest.fixture(autouse=True)
def loopback():
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this torch is built without gloo")


def execute(path: Path) -> None:
    """In a process of its own: torch's launcher sets signal handlers and the environment."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(path)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / "latest" / "model.safetensors")


def losses(run: Path) -> list[float]:
    return [row["train/loss"] for row in metrics.read(run / "metrics.jsonl") if "train/loss" in row]


# Adam divides by the gradient's size, which in the first steps turns rounding of tiny gradients into whole steps;
# eps of the gradients' own size keeps the comparison about the gradients.
CHANGES = {"optimizer": {"lr": 1e-3, "eps": 1e-3}, "batch": {"rows": 4, "micro_tokens": 70}, "max_steps": 4}


def test_two_processes_train_the_weights_of_one(runs):
    alone = tiny.ran("pretrain", runs, **CHANGES)
    together = tiny.created("pretrain", runs, **tiny.merged(CHANGES, {"launch": {"nproc_per_node": 2}}))
    execute(together)
    assert json.loads((together / "result.json").read_text())["status"] == "finished"
    for name, tensor in weights(alone).items():
        torch.testing.assert_close(weights(together)[name], tensor, rtol=0, atol=1e-5, msg=name)
    assert losses(together) == pytest.approx(losses(alone), abs=1e-5)
    held_out = [row["eval/loss"] for row in metrics.read(alone / "metrics.jsonl") if "eval/loss" in row]
    assert held_out[0] > held_out[-1]  # something was learnt


def test_ppo_runs_on_two_processes(chain, runs):
    """target_kl and max_time are decided together: processes that disagree would wait for each other for ever."""
    changes = {"launch": {"nproc_per_node": 2}, "batch": {"micro_tokens": 150}, "target_kl": 1e-7, "ppo_epochs": 2}
    changes |= {"max_time": "1h", "optimizer": {"lr": 1e-3}}
    run = tiny.created("ppo", runs, **tiny.merged(chain.links("ppo"), changes))
    execute(run)
    result = json.loads((run / "result.json").read_text())
    assert (result["status"], result["step"]) == ("finished", 4)
    rows = metrics.read(run / "metrics.jsonl")
    assert [row["step"] for row in rows if "ppo/kl" in row] == [1, 2, 3, 4]
    assert next(row["ppo/kl"] for row in rows if "ppo/kl" in row) == 0.0


@pytest.mark.parametrize("code, said", [(1, r"failed \(exit code 1\), as told above"), (-9, "was killed by signal 9")])
def test_a_process_that_dies_is_named(code, said, monkeypatch, tmp_path):
    """A killed one has told nothing, so nothing is said to stand above."""
    failure = ProcessFailure(local_rank=1, pid=1, exitcode=code, error_file="none")
    error = ChildFailedError("worker", {1: failure})

    def failing(*_):
        raise error

    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setattr("torch.distributed.launcher.api.elastic_launch", lambda *_: failing)
    with pytest.raises(TrainingError, match=f"process 1 of 2 {said}; go on with: llmtrain resume"):
        processes._elastic(tmp_path, 2)
