"""What to change when a stage does not fit: settings that are tried on the configuration, not rules of thumb."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from llmtrain.config.choices import AdvantageName
from llmtrain.estimate.machine import Machine
from llmtrain.estimate.needs import Needs
from llmtrain.estimate.summary import total

LEAST = 64  # micro_tokens, and as many rows of a decode, below which little is won
Change = tuple[str, Any]  # what to write, and the configuration with it


def memory(config: Any, machine: Machine, forecast: Callable[[Any], Needs]) -> tuple[list[str], int]:
    """Settings that together bring the need down to what is there, as far as they can, and the need with them.

    A change that wins nothing is not kept. What alters the algorithm comes last and says so.
    """

    def need(of: Any) -> int:
        return total(forecast(of), machine)

    chosen: list[str] = []
    now = need(config)
    for lever in (_processes, _micro_tokens, _batch_rows, _no_critic):
        kept = ""
        for words, changed in lever(config, machine):
            least = need(changed)
            if now <= machine.memory or least >= 0.98 * now:
                break
            kept, config, now = words, changed, least
        chosen += [kept] if kept else []
    return chosen, now


def disk(config: Any, machine: Machine, found: Needs) -> tuple[list[str], int]:
    """The same for checkpoints."""
    chosen: list[str] = []
    kept = found.kept
    for key, least in (("keep_last", 1), ("keep_best", 0)):
        spare = getattr(config.loop, key) - least
        if spare > 0 and found.checkpoint * kept > machine.disk:
            kept -= spare
            chosen.append(f"loop.{key}={least}")
    return chosen, found.checkpoint * kept


def _processes(config: Any, machine: Machine) -> Iterator[Change]:
    if machine.device == "cpu" and config.launch.nproc_per_node > 1:  # each holds a copy of everything
        yield "launch.nproc_per_node=1", replace(config, launch=replace(config.launch, nproc_per_node=1))


def _micro_tokens(config: Any, machine: Machine) -> Iterator[Change]:
    if config.command in ("sample", "eval"):
        return
    size = config.batch.micro_tokens // 2
    while size >= LEAST:
        yield f"batch.micro_tokens={size}", replace(config, batch=replace(config.batch, micro_tokens=size))
        size //= 2


def _batch_rows(config: Any, machine: Machine) -> Iterator[Change]:
    if config.command == "reward":
        return
    size = config.sampling.batch_rows // 2
    while size >= 1:
        yield f"sampling.batch_rows={size}", replace(config, sampling=replace(config.sampling, batch_rows=size))
        size //= 2


def _no_critic(config: Any, machine: Machine) -> Iterator[Change]:
    if config.command == "ppo" and config.advantage.name is AdvantageName.gae:
        answers = max(2, config.advantage.answers)
        own = replace(config.advantage, name=AdvantageName.rloo, answers=answers)
        yield f"advantage=rloo advantage.answers={answers} (no critic: another algorithm)", replace(
            config, advantage=own
        )
