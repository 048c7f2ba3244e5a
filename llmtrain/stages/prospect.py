"""`llmtrain plan`: what the stages of a command line would need on this machine, and what to change where it is more.

Nothing is trained, loaded or written: models are known by their configurations, rows by their number.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from llmtrain.errors import ConfigError, LlmtrainError
from llmtrain.estimate.machine import Machine
from llmtrain.estimate.memory import WIDE
from llmtrain.estimate.needs import Needs
from llmtrain.estimate.summary import summary
from llmtrain.estimate.table import size
from llmtrain.launch.machine import here
from llmtrain.stages import advice
from llmtrain.stages.blueprints import Blueprints
from llmtrain.stages.forecast import STAGES, forecast, on_cuda
from llmtrain.stages.plan import Step


def prospects(steps: Sequence[Step], folder: Path, flops: float | None) -> list[dict[str, Any]]:
    """A summary for each stage, the advice in it. folder: where a pipeline's stages will lie.

    flops: operations a second in place of a measurement. Raises ConfigError with all models that are not there.
    """
    prints, faults = Blueprints(), []
    cuda = torch.cuda.is_available()
    found: list[tuple[Step, Needs]] = []
    for step in steps:
        if step.command == "rank" and len(steps) > 1:  # people's time is not foretold
            continue
        if step.command not in STAGES:
            faults.append(f"plan: {step.command} computes nothing that needs a plan; give {', '.join(STAGES)}")
            continue
        prints.notes = {}
        try:
            found.append((step, forecast(step.config, prints, on_cuda(step.config, cuda))))
            _leave(step, folder, prints)
        except LlmtrainError as error:
            faults.append(f"{step.name}: {error}" if len(steps) > 1 else str(error))
    if faults:
        raise ConfigError("\n".join(dict.fromkeys(faults)))
    machines: dict[tuple[bool, bool], Machine] = {}
    out = []
    for step, needs in found:
        kind = on_cuda(step.config, cuda), needs.narrow < WIDE
        if kind not in machines:
            machines[kind] = here(*kind, step.config.run.root, flops)
        out.append(_told(step, needs, machines[kind], prints))
    return out


def _leave(step: Step, folder: Path, prints: Blueprints) -> None:
    """What later stages of a pipeline start from: every model of it has the shape of its first."""
    own = step.config
    if step.command == "pretrain":
        made = prints.new(own) if own.init is None else prints.at(own, "init", own.init, ("pretrain",))
    elif step.command in ("sft", "reward", "ppo", "dpo"):
        made = prints.at(own, "init", own.init, ("sft",))
    else:
        return
    prints.coming[str(folder / step.name)] = made


def _told(step: Step, needs: Needs, machine: Machine, prints: Blueprints) -> dict[str, Any]:
    config = step.config
    told = {"stage": step.name} | summary(needs, machine)
    advised: list[str] = []
    if not told["memory"]["fits"]:
        cuda = machine.device == "cuda"
        settings, need = advice.memory(config, machine, lambda changed: forecast(changed, prints, cuda))
        advised.append(_sentence("memory", settings, need, machine.memory, "a smaller model"))
    if not told["disk"]["fits"]:
        settings, need = advice.disk(config, machine, needs)
        advised.append(_sentence("disk", settings, need, machine.disk, "another run.root"))
    if needs.batches and needs.batches < needs.processes:
        advised.append(
            f"processes: an update has work for {needs.batches}, so {needs.processes - needs.batches} of "
            f"{needs.processes} have nothing to do; lower batch.micro_tokens or launch.nproc_per_node"
        )
    return told | {"advice": advised}


def _sentence(what: str, settings: list[str], need: int, there: int, beyond: str) -> str:
    rest = "" if need <= there else f"; that is still more than {size(there)}: take {beyond}"
    return f"{what}: {' '.join(settings) or 'no setting helps'} brings it to {size(need)}{rest}"
