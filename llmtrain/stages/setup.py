"""From a stage's configuration to the plain arguments of the rooms below. Nothing under here sees a config object."""

import logging
import math
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmtrain.config.choices import CriticName
from llmtrain.config.schema import DPO, PPO, Common, Log, Sampling, Stop, Training
from llmtrain.errors import InitError
from llmtrain.launch.mesh import Mesh, open_mesh
from llmtrain.loop.fit import Outcome, Plan
from llmtrain.loop.learner import Rate
from llmtrain.loop.optimizer import adamw
from llmtrain.loop.schedule import schedule
from llmtrain.loop.stopping import TargetReached, numbers, seconds
from llmtrain.models import causal
from llmtrain.models.lora import Adapters
from llmtrain.run import lineage
from llmtrain.run import metrics as logged
from llmtrain.run.lineage import Origin
from llmtrain.run.seeding import derive
from llmtrain.run.session import Session
from llmtrain.text import tokenizers
from llmtrain.text.template import adopt, check_template

log = logging.getLogger("llmtrain")


def mesh_of(config: Common) -> Mesh:
    return open_mesh(config.launch.device.value, config.launch.dtype.value, config.launch.threads)


def trackers(log: Log) -> tuple[str, ...]:
    """Which trackers get a copy of the metrics: TensorBoard also unasked, where it is installed."""
    board = find_spec("tensorboard") is not None if log.tensorboard is None else log.tensorboard
    wanted = {"tensorboard": board, "wandb": log.wandb, "trackio": log.trackio}
    return tuple(name for name in wanted if wanted[name])


def session_of(config: Common, path: Path, mesh: Mesh, *, higher_is_better: bool = False) -> Session:
    """The run directory of a stage, with the retention of a training stage where there is one."""
    keep = (config.loop.keep_last, config.loop.keep_best) if isinstance(config, Training) else (1, 0)
    return Session(
        path,
        config.command,
        mesh,
        keep_last=keep[0],
        keep_best=keep[1],
        higher_is_better=higher_is_better,
        trackers=trackers(config.log),
    )


def origin_of(config: Common, path: Path, role: str, init: str, stages: tuple[str, ...]) -> Origin:
    """Where a stage begins: a run, a checkpoint, a local or hub model, or `latest` of the stages before.

    A run that goes on keeps what it began with, whatever `latest` means by now.
    """
    before = lineage.recorded(path, role)
    return before or lineage.resolve_model(init, root=config.run.root, name=config.run.name, stages=stages)


def tokenizer_at(path: Path, *, chat: bool, adopts: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer beside a model, checked against it before any weight loads.

    adopts: one without a chat template gets ours; the model may have to grow (draw.grow).
    """
    tokenizer = tokenizers.load(str(path))
    causal.check_tokenizer(path, tokenizer)
    if adopts and tokenizer.chat_template is None:
        adopt(tokenizer)
    if chat:
        check_template(tokenizer)
    return tokenizer


def model_at(path: Path, mesh: Mesh, *, dropout: float = 0.0) -> PreTrainedModel:
    return causal.load(path, device=mesh.device, dtype=mesh.dtype, dropout=dropout)


def policy_of(config: PPO | DPO, session: Session, origin: Origin) -> tuple[PreTrainedModel, Adapters | None]:
    """The model to improve, where the run stands; under adapters that of init, to which they are added."""
    for key in departures(config):
        log.info("%s: another algorithm than %s by itself (docs/correctness.md)", key, config.command)
    own = config.adapter
    if not own.rank:
        return model_at(session.checkpoint.path if session.checkpoint else origin.path, session.mesh), None
    assert own.alpha is not None  # config/combinations.py
    model, seed = model_at(origin.path, session.mesh), derive(config.seed, "adapters")
    adapters = Adapters(model, rank=own.rank, alpha=own.alpha, targets=own.targets, seed=seed)
    learn, stay = (sum(p.numel() for p in module.parameters()) for module in (adapters, model))
    log.info("adapters on %d layers: %d weights learn, the model's %d stay", len(adapters), learn, stay)
    return model, adapters


def reference_at(path: Path, mesh: Mesh, adapters: Adapters | None) -> PreTrainedModel | Adapters:
    """The frozen model at `path`; adapters of a policy that began there stand for it, and nothing is read."""
    return model_at(path, mesh).eval().requires_grad_(False) if adapters is None else adapters


def departures(config: PPO | DPO) -> list[str]:
    """The settings that make a run another algorithm than its command is by itself, as KEY=VALUE."""
    found = [f"adapter.rank={config.adapter.rank}"] if config.adapter.rank else []
    if isinstance(config, PPO) and config.advantage.critic is CriticName.shared:
        found.append("advantage.critic=shared")
    return found


def check_context(model: PreTrainedModel, tokens: int, what: str) -> None:
    """Raises InitError when rows are longer than the positions that the model knows, or than its attention sees."""
    known = model.config.max_position_embeddings
    window = model.config.to_dict().get("sliding_window") or known
    if tokens > window:
        raise InitError(f"{what} needs {tokens} tokens, the model at init= has a window of {window}; lower {what}")
    if tokens > known:
        raise InitError(f"{what} needs {tokens} tokens, the model at init= knows {known} positions; lower {what}")


def check_same_tokenizer(tokenizer: PreTrainedTokenizerBase, judge: Path) -> None:
    """Raises InitError when a judge reads other token ids than the policy writes."""
    if tokenizers.digest(tokenizers.load(str(judge))) != tokenizers.digest(tokenizer):
        raise InitError(f"judge.init={judge}: its tokenizer is not the policy's; train the judge from the same base")


def greedy(sampling: Sampling) -> Sampling:
    """The same limits at temperature 0, for evaluations."""
    return replace(sampling, temperature=0.0)


def steps_of(config: Training, steps_per_epoch: int) -> int:
    """The rounds of a run: max_steps, or epochs over the training rows."""
    if config.max_steps is not None:
        return config.max_steps
    assert config.epochs is not None  # config/check.py: one of the two is set
    return max(1, math.ceil(config.epochs * steps_per_epoch))


def optimizer_of(config: Training, module: nn.Module, slow: dict[str, float] | None = None) -> torch.optim.AdamW:
    """AdamW from `optimizer`; `slow` maps a prefix of parameter names to its own learning rate."""
    o, own = config.optimizer, slow or {}

    def rate(name: str) -> float:
        return next((lr for prefix, lr in own.items() if name.startswith(prefix)), o.lr)

    betas = (o.beta1, o.beta2)
    return adamw(module, lr=o.lr, betas=betas, eps=o.eps, weight_decay=o.weight_decay, lr_of=rate)


def schedule_of(config: Training, total: int):
    s = config.schedule
    return schedule(s.name.value, total=total, warmup=s.warmup, final=s.final, decay=s.decay)


def plan_of(
    config: Training, total: int, *, best: str, higher: bool, shown: tuple[str, ...], first: bool = False
) -> Plan:
    loop = config.loop
    return Plan(
        max_steps=total,
        max_seconds=seconds(config.max_time),
        log_every=config.log.every,
        eval_every=loop.eval_every,
        save_every=loop.save_every,
        clip_norm=config.optimizer.clip_norm,
        max_skipped=loop.max_skipped,
        seed=config.seed,
        best=best,
        higher_is_better=higher,
        shown=shown,
        evaluate_first=first,
        progress=config.log.progress,
    )


def stop_of(stop: Stop) -> TargetReached | None:
    if stop.metric is None:
        return None
    assert stop.threshold is not None and stop.confidence is not None  # config/combinations.py: all are set, or none
    assert stop.patience is not None and stop.min_steps is not None
    return TargetReached(stop.metric, stop.threshold, stop.confidence, stop.patience, stop.min_steps)


def useful_share(path: Path) -> float | None:
    """Tokens of all logged steps, as a share of the slots that were computed for them; None without a step."""
    rows = [row for row in logged.read(path / "metrics.jsonl") if "train/useful" in row]
    tokens = sum(row["train/tokens"] for row in rows)
    computed = sum(row["train/tokens"] / row["train/useful"] for row in rows if row["train/useful"])
    return tokens / computed if computed else None


def finish(session: Session, outcome: Outcome, headline: str, **extra: object) -> dict:
    """Record the end of a training run; `headline` names the metric that tables and sweeps show.

    The metrics are those of the checkpoint that the next stage takes; shares come with their 95 % intervals.
    """
    metrics = numbers(outcome.values)
    rates = {name: rate for name, rate in outcome.values.items() if isinstance(rate, Rate)}
    intervals = {name: {"n": rate.n, "interval": rate.interval(0.95)} for name, rate in rates.items()}
    extra = {"headline": headline, "value": metrics.get(headline), "kept": outcome.kept, **extra}
    extra["useful"] = useful_share(session.path)
    return session.finish(outcome.status, outcome.reason, outcome.step, metrics, intervals=intervals, **extra)
