"""Runs a stage in a child process that dies where it is told to.

The forkserver has torch and the stages imported, so a child costs a fraction of a second. A fault is a point in the
program, the how-manieth time it is passed, and the signal that the process sends itself there.
"""

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from llmtrain.run import metrics

PRELOAD = [f"llmtrain.stages.{name}" for name in ("pretrain", "sft", "reward", "dpo", "ppo")]
TIMEOUT = 60.0  # seconds that a child may take


@dataclass(frozen=True)
class Fault:
    point: str
    nth: int  # 1 is the first time
    signal: int = signal.SIGKILL

    def __str__(self) -> str:
        return f"{self.point}-{self.nth}"


def strike(fault: Fault) -> None:
    os.kill(os.getpid(), fault.signal)


def inject(fault: Fault) -> None:
    """Patch the program in this process so that `fault` happens."""
    from llmtrain.loop import fit
    from llmtrain.run import checkpoints, session

    points: dict[str, tuple[Any, str, Callable[..., Any]]] = {
        "log": (session.Session, "log", _before),
        "update": (fit, "update", _before),
        "after update": (fit, "update", _after),
        "evaluation": (fit._Fit, "_evaluate", _inside_evaluation),
        "rollout": (session.Session, "poll_alone", _before),
        "before save": (session.Session, "save", _before),
        "model written": (session.Session, "save", _inside_save),
        "before rename": (checkpoints.Checkpoints, "_commit", _before),
        "after rename": (checkpoints.Checkpoints, "_tidy", _before),
        "before delete": (checkpoints.Checkpoints, "_prune", _before),
        "after save": (session.Session, "save", _after),
        "before result": (session.Session, "finish", _before),
    }
    owner, name, how = points[fault.point]
    count = 0
    original = getattr(owner, name)

    def replaced(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        return how(fault, original, *args, **kwargs) if count == fault.nth else original(*args, **kwargs)

    setattr(owner, name, replaced)


def _before(fault: Fault, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    strike(fault)
    return original(*args, **kwargs)


def _after(fault: Fault, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    result = original(*args, **kwargs)
    strike(fault)
    return result


def _inside_save(fault: Fault, original: Callable[..., Any], session: Any, step: int, write: Any, *rest: Any) -> None:
    def torn(path: Path) -> None:
        write(path)
        strike(fault)

    original(session, step, torn, *rest)


def _inside_evaluation(fault: Fault, original: Callable[..., Any], loop: Any) -> None:
    evaluate = loop.learner.evaluate

    def torn(step: int) -> Any:
        loop.learner.evaluate = evaluate
        strike(fault)
        loop.session.poll_alone()  # what a rollout inside an evaluation does at every token
        return evaluate(step)

    loop.learner.evaluate = torn
    original(loop)


def _child(path: str, fault: Fault | None) -> None:
    import torch

    from llmtrain.launch.processes import worker

    torch.set_num_threads(1)
    if fault is not None:
        inject(fault)
    sys.exit(worker(Path(path)))


class Children:
    """Starts children of one forkserver."""

    def __init__(self) -> None:
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(PRELOAD)

    def run(self, path: Path, fault: Fault | None = None) -> int:
        """Exit code of a run (or of going on with it); -9 when it was killed."""
        child = self.context.Process(target=_child, args=(str(path), fault))
        child.start()
        child.join(TIMEOUT)
        if child.is_alive():
            child.kill()
            child.join()
            raise AssertionError(f"{path}: the child hung after {fault}")
        assert child.exitcode is not None
        return child.exitcode


@dataclass(frozen=True)
class Trace:
    """All that a run leaves, in a form that compares bit for bit."""

    step: int
    weights: dict[str, str]  # sha256 of each tensor
    moments: dict[str, str]
    trainer: dict[str, Any]
    metrics: list[dict[str, Any]]
    result: dict[str, Any]
    samples: dict[str, str]


def traced(path: Path) -> Trace:
    newest = path / "checkpoints" / "latest"
    trainer = json.loads((newest / "trainer.json").read_text())
    rows = [_timeless(row) for row in metrics.read(path / "metrics.jsonl")]
    result = json.loads((path / "result.json").read_text())
    return Trace(
        int(newest.resolve().name.removeprefix("step-")),
        _bits(newest / "model.safetensors"),
        _bits(newest / "trainer.safetensors"),
        trainer,
        rows,
        {key: result[key] for key in ("status", "reason", "step", "metrics", "findings")},
        {file.name: file.read_text() for file in sorted((path / "samples").glob("*"))},
    )


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.startswith("time/")}


def _bits(file: Path) -> dict[str, str]:
    """A digest a tensor: where two differ, pytest compares a line each, not megabytes (for minutes, under CI)."""
    return {name: sha256(tensor.numpy().tobytes()).hexdigest() for name, tensor in load_file(file).items()}


def steps(path: Path) -> list[int]:
    """The checkpoints that are there."""
    return sorted(int(p.name.removeprefix("step-")) for p in (path / "checkpoints").glob("step-*"))


def leftovers(path: Path) -> list[str]:
    return [p.name for p in (path / "checkpoints").glob(".tmp*")]
