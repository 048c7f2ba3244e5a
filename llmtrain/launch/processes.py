"""Run the stage recorded in a run directory: in this process, or on several that torch's elastic agent starts."""

import importlib
import logging
import os
import sys
import uuid
from pathlib import Path
from typing import Any

from llmtrain.config.check import build
from llmtrain.errors import Interrupted, LlmtrainError, TrainingError
from llmtrain.launch import clock, cpus, tuning
from llmtrain.run.directory import CONFIG, RESULT, check_unchanged, read_config, read_result

log = logging.getLogger("llmtrain")

WHOLE = ("pipeline", "rank")  # commands that are one process whatever launch.nproc_per_node is


def execute(path: Path) -> dict[str, Any]:
    """Run (or go on with) the run in `path`; returns its result record.

    With launch.nproc_per_node > 1 the processes are started here, read the same config.yaml and meet over loopback. A
    pipeline stays in this one, as rank does: the stages in them start theirs.
    """
    clock.begin()
    check_unchanged(path)
    config = build(read_config(path))
    tuning.apply(config.launch.tune)  # before the stage loads torch; the processes that it starts inherit it
    count = config.launch.nproc_per_node
    if count > 1 and config.command not in WHOLE and "WORLD_SIZE" not in os.environ:
        _elastic(path, count)
        return read_result(path) or {}
    try:
        result = stage(config.command).run(config, path)
    except TrainingError:
        _report(config, path)  # where it went wrong is worth a look
        raise
    _report(config, path)
    return result


def _report(config: Any, path: Path) -> None:
    """report.html of a run that ended, by its first process. A stage of a pipeline stands in the pipeline's."""
    staged = (path.parent / CONFIG).is_file()
    if config.log.report and (path / RESULT).is_file() and os.environ.get("RANK", "0") == "0" and not staged:
        from llmtrain.report import page

        page.at_the_end(path)


def stage(command: str) -> Any:
    """The module of a command; it has run(config, path) -> result."""
    return importlib.import_module(f"llmtrain.stages.{command}")


def _elastic(path: Path, count: int) -> None:
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cpus.usable() // count)))
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # torch.distributed has no authentication: stay on this machine
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        max_restarts=0,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
    )
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # what failed is said below, once
    try:
        elastic_launch(config, sys.executable)("-m", "llmtrain.launch.worker", str(path))
    except SignalException as error:
        raise Interrupted(error.sigval, f"processes stopped; go on with: llmtrain resume {path}") from None
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        code = failure.exitcode  # below 0 a signal's number: nobody was left to tell why
        how = f"failed (exit code {code}), as told above" if code > 0 else f"was killed by signal {-code}"
        raise TrainingError(f"process {rank} of {count} {how}; go on with: llmtrain resume {path}") from None


def worker(path: Path) -> int:
    """What each started process runs; returns its exit code."""
    try:
        execute(path)
    except (LlmtrainError, Interrupted) as error:
        log.error("%s", error)
        return error.exit_code
    return 0
