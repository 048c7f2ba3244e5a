"""What to change when a stage does not fit: settings that are tried on the configuration, not rules of thumb."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from llmtrain.config.choices import AdvantageName, CriticName
from llmtrain.estimate.machine import Machine
from llmtrain.estimate.needs import Needs
from llmtrain.estimate.summary import total

LEAST = 64  # micro_tokens below which little is won
RANK = 8  # of adapters that are advised
Change = tuple[str, Any]  # what to write, and the configuration with it


def memory(config: Any, machine: Machine, forecast: Callable[[Any], Needs]) -> tuple[list[str], int]:
    """Settings that together bring the need down to what is there, as far as they can, and the need with them.

    Each is the least change after which the phases that it governs fit. What alters the algorithm comes last and says
    so.
    """
    chosen: list[str] = []
    for phases, lever in LEVERS:

        def need(of: Any, phases: tuple[str, ...] = phases) -> int:
            told = forecast(of)
            return total(told, machine, max(told.phases.get(phase, 0) for phase in phases))

        before = now = need(config)
        kept: Change | None = None
        for change in lever(config, machine) if now > machine.memory else ():
            least = need(change[1])
            if least < 0.98 * now:
                kept, now = change, least
            if now <= machine.memory:
                break
        if kept and now < before:
            chosen.append(kept[0])
            config = kept[1]
    told = forecast(config)
    return chosen, total(told, machine, told.peak)


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


def _adapters(config: Any, machine: Machine) -> Iterator[Change]:
    if config.command in ("ppo", "dpo") and not config.adapter.rank:
        own = replace(config.adapter, rank=RANK, alpha=2.0 * RANK)
        told = f"adapter.rank={RANK} adapter.alpha={2 * RANK} (no weight learns, the reference is no copy"
        yield f"{told}: another algorithm)", replace(config, adapter=own)


def _critic(config: Any, machine: Machine) -> Iterator[Change]:
    if config.command != "ppo" or config.advantage.name is not AdvantageName.gae:
        return
    if config.advantage.critic is CriticName.separate:
        own = replace(config.advantage, critic=CriticName.shared)
        yield "advantage.critic=shared (no second trunk: another algorithm)", replace(config, advantage=own)
    answers = max(2, config.advantage.answers)
    own = replace(config.advantage, name=AdvantageName.rloo, answers=answers, critic=None)
    yield f"advantage=rloo advantage.answers={answers} (no critic: another algorithm)", replace(config, advantage=own)


LEVERS: tuple[tuple[tuple[str, ...], Callable[[Any, Machine], Iterator[Change]]], ...] = (
    (("update", "scoring", "sampling"), _processes),
    (("update", "scoring"), _micro_tokens),
    (("sampling",), _batch_rows),
    (("update", "scoring"), _adapters),
    (("update",), _critic),
)
