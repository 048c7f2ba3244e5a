"""Faults that lie between keys, found without reading a file. A key that would do nothing is one."""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

from llmtrain.config import people, ppo
from llmtrain.config.choices import (
    Annotator,
    AnswerFormat,
    DataName,
    DPOLoss,
    Engine,
    Improve,
    Ranker,
    ScheduleName,
    TokenizerName,
)
from llmtrain.config.names import meant

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*[smh]?")
GOLD = ("gold/helpful", "gold/honest", "gold/harmless", "gold/min")
RATES = {"ppo": (*GOLD, "eval/win_rate", "eval/ended"), "dpo": (*GOLD, "eval/accuracy")}  # better when higher
HOLD_OUT = ("pretrain", "sft", "reward", "dpo", "data")  # whatever they read; ppo and eval do with files alone


def combinations(config: Any, unsound: set[str]) -> list[str]:
    """The faults between keys; of a check that needs one of the parts in `unsound` there are none."""
    there = {field.name for field in dataclasses.fields(config)} - unsound
    return [fault for parts, check in CHECKS if there.issuperset(parts) for fault in check(config)]


def _run(config: Any) -> list[str]:
    if NAME.fullmatch(config.run.name):
        return []
    return [f"run.name: {config.run.name!r} may hold letters, digits, . _ - and at most 64 of them"]


def _limits(config: Any) -> list[str]:
    if (config.max_steps is None) == (config.epochs is None):
        return ["max_steps, epochs: set one of them, and the other to null"]
    return []


def _time(config: Any) -> list[str]:
    if config.max_time is None:
        return []
    match = DURATION.fullmatch(config.max_time.strip())
    if match is None:
        return [f"max_time: {config.max_time!r} is not a duration; write 90s, 15m or 2h"]
    return [] if float(match[1]) else [f"max_time: {config.max_time} must be more than 0; null sets no limit"]


def _schedule(config: Any) -> list[str]:
    s, faults = config.schedule, []
    if s.name is not ScheduleName.wsd and s.decay:
        faults.append(f"schedule.decay: {s.decay} does nothing with schedule.name={s.name.value}; set it to 0")
    if s.name is ScheduleName.constant and s.final != 1:
        faults.append(f"schedule.final: {s.final} does nothing with schedule.name=constant; set it to 1")
    if s.warmup + s.decay > 1:
        faults.append(f"schedule.warmup, schedule.decay: {s.warmup} + {s.decay} is more than the whole run")
    return faults


def _data(config: Any) -> list[str]:
    data, faults = config.data, []
    own = data.name is DataName.microworld
    reads = config.stage and config.stage.value if config.command == "data" else config.command
    if own and data.path:
        faults.append(f"data.path: {data.path} does nothing with data.name=microworld; give data=PATH instead")
    elif not own and not data.path:
        faults.append("data.path: empty; give data=FILE (or a folder, [FILE,FILE], hub:org/name, latest)")
    elif not all(path.strip() for path in data.path):
        faults.append("data.path: holds an empty path; drop it")
    if data.text_column is not None and (own or reads not in ("pretrain", "eval")):
        faults.append("data.text_column: is for pretrain and eval on files of your own; set it to null")
    if data.split != "train" and not any(path.startswith("hub:") for path in data.path):
        faults.append(f"data.split: {data.split} does nothing here, only hub:org/name has splits; set it to train")
    if own:
        faults += [
            f"data.{key}: not set; the microworld needs it"
            for key, value in (("rows", data.rows), ("world", data.world))
            if value is None
        ]
    elif data.world is not None and reads not in ("reward", "dpo"):
        faults.append(f"data.world: {data.world} does nothing here with files; set it to null")
    held_out = config.command in HOLD_OUT or (config.command in ("ppo", "eval") and not own)
    if held_out and data.eval_fraction == 0:
        faults.append("data.eval_fraction: 0 holds nothing out, and what is held out is measured; set it above 0")
    return faults


def _tokenizer(config: Any) -> list[str]:
    t, faults = config.tokenizer, []
    if (t.name is TokenizerName.file) != (t.path is not None):
        faults.append(f"tokenizer.path: {t.path!r} goes with tokenizer.name=file, and only with it")
    if t.name is not TokenizerName.bpe and t.vocab_size:
        faults.append(
            f"tokenizer.vocab_size: {t.vocab_size} does nothing with tokenizer.name={t.name.value}; set it to 0"
        )
    if t.name is TokenizerName.bpe and t.vocab_size < 261:
        faults.append(f"tokenizer.vocab_size: {t.vocab_size} is less than the 256 bytes and 5 control tokens")
    return faults


def _model(config: Any) -> list[str]:
    m, faults = config.model, []
    if m.width % m.heads:
        faults.append(f"model.width: {m.width} is not a multiple of model.heads={m.heads}")
    elif m.name.value == "llama" and (m.width // m.heads) % 2:
        faults.append(
            f"model.width: {m.width} / model.heads={m.heads} is odd; rotary positions need an even head width"
        )
    if config.data.max_length > m.context:
        faults.append(f"data.max_length: {config.data.max_length} is more than model.context={m.context}")
    if config.sampling.max_new_tokens >= m.context:
        faults.append(f"sampling.max_new_tokens: must be less than model.context={m.context}")
    return faults


def _sample(config: Any) -> list[str]:
    if config.answers > 1 and config.sampling.temperature == 0:
        return [f"sampling.temperature: 0 makes all {config.answers} answers the same; raise it, or answers=1"]
    return []


def _annotate(config: Any) -> list[str]:
    if config.annotate is Annotator.none:
        unused = {"noise": config.noise, "held_out": config.held_out}
        return [f"{k}: {v} does nothing with annotate=none; set it to 0" for k, v in unused.items() if v]
    if config.data.name is not DataName.microworld:
        return [f"annotate: {config.annotate.value} needs the gold graders of data=microworld; set it to none"]
    return []


def _policies(config: Any) -> list[str]:
    faults = []
    for entry in config.policies:
        where, at, heat = entry.partition("@")
        if not where.strip() or (at and not _temperature(heat)):
            faults.append(f"policies: {entry!r} is none of RUN, RUN@TEMPERATURE, self@TEMPERATURE (such as self@1.5)")
    return faults


def _temperature(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and float(text) >= 0
    except ValueError:
        return False


def _pipeline(config: Any) -> list[str]:
    """Overrides of a stage that this pipeline does not have would do nothing."""
    stages = {"sample": config.sample, "reward": config.reward, "ppo": config.ppo, "dpo": config.dpo}
    unused = ["dpo"] if config.improve is Improve.ppo else ["reward", "ppo"]
    faults = [f"{s}: does nothing with improve={config.improve.value}; drop {s}.*" for s in unused if stages[s]]
    if config.rank and config.annotate is not Ranker.people:
        faults.append(f"rank: does nothing with annotate={config.annotate.value}; set it to people, or drop rank.*")
    if config.rank.get("sample"):
        faults.append("rank.sample: does nothing here, the pipeline's own sample is ranked; give sample.*")
    if config.annotate is Ranker.none:
        if config.sample:
            faults.append("sample: does nothing with annotate=none; drop sample.*")
        if config.rounds > 1:
            faults.append(f"rounds: {config.rounds} rounds need new rankings each; set annotate, or rounds=1")
    return faults


def _dpo(config: Any) -> list[str]:
    faults = []
    if config.label_smoothing and config.loss not in (DPOLoss.conservative, DPOLoss.robust):
        faults.append(
            f"label_smoothing: {config.label_smoothing} does nothing with loss={config.loss.value}; set it to 0"
        )
    if config.loss is DPOLoss.robust and config.label_smoothing >= 0.5:
        faults.append("label_smoothing: must be less than 0.5 with loss=robust")
    return faults


def _adapter(config: Any) -> list[str]:
    own = config.adapter
    if own.rank and own.alpha is None:
        return [f"adapter.alpha: not set; adapter.rank={own.rank} needs it (adapter=lora sets it)"]
    told = "does nothing with adapter.rank=0; give adapter=lora, or"
    faults = [] if own.rank or own.alpha is None else [f"adapter.alpha: {own.alpha} {told} set it to null"]
    if own.targets and not own.rank:
        faults.append(f"adapter.targets: {own.targets} {told} set it to []")
    faults += ["adapter.targets: holds an empty name; drop it"] if not all(map(str.strip, own.targets)) else []
    return faults + [f"adapter.targets: {name} is there twice; drop one" for name in _doubled(own.targets)]


def _adapted_sampling(config: Any) -> list[str]:
    if config.adapter.rank and config.sampling.engine is Engine.vllm:
        return ["sampling.engine: vllm would read the model without its adapters; set it to own, or adapter=none"]
    return []


def _eval(config: Any) -> list[str]:
    faults = []
    if not config.models:
        faults.append("models: empty; name at least one run, checkpoint or model directory")
    elif config.init is not None and config.models != ["latest"]:
        faults.append("init, models: both name what is evaluated; drop init and list all of them in models")
    for key in ("models", "tasks"):
        entries = getattr(config, key)
        faults += [f"{key}: holds an empty entry; drop it"] if not all(entry.strip() for entry in entries) else []
        faults += [f"{key}: {entry} is there twice; drop one" for entry in _doubled(entries)]
    if config.judged_by is not None and config.judged_by.endswith(".py"):
        faults.append(f"judged_by: {config.judged_by} names no function in the file; give {config.judged_by}:NAME")
    if config.judged_by is not None and config.reference is None:
        faults.append(f"judged_by: {config.judged_by} does nothing without a model to win against; give reference=RUN")
    if config.tasks and config.launch.nproc_per_node > 1:
        faults.append("launch.nproc_per_node: the harness of tasks runs in one process; set it to 1")
    return faults


def _chat(config: Any) -> list[str]:
    faults = [f"models: {entry} is there twice; drop one" for entry in _doubled(config.models)]
    if not config.models or not all(entry.strip() for entry in config.models):
        faults.append("models: name at least one run, checkpoint or model directory, and no empty one")
    alone = {"prompt": config.prompt is not None, "format": config.format is AnswerFormat.jsonl}
    faults += [
        f"{key}: does nothing with web=true; drop one of them" for key, given in alone.items() if given and config.web
    ]
    if config.page.port and not config.web:
        faults.append(f"page.port: {config.page.port} does nothing without a page; give --web, or drop it")
    unused = {"launch.nproc_per_node": config.launch.nproc_per_node > 1}
    unused |= {"log.tensorboard": config.log.tensorboard, "log.wandb": config.log.wandb}
    return faults + [f"{key}: does nothing in a chat; drop it" for key, given in unused.items() if given]


def _doubled(entries: list[str]) -> list[str]:
    return sorted({entry for entry in entries if entries.count(entry) > 1})


def _stop(config: Any) -> list[str]:
    stop = config.stop
    values = {f.name: getattr(stop, f.name) for f in dataclasses.fields(stop) if f.name != "metric"}
    if stop.metric is None:
        told = "does nothing with stop.metric=null; give stop=never"
        return [f"stop.{k}: {v} {told}" for k, v in values.items() if v is not None]
    return [f"stop.{k}: not set; stop.metric needs it (stop=target sets it)" for k, v in values.items() if v is None]


def _rates(config: Any) -> list[str]:
    """A run can only wait for a share that it measures and that is better when higher."""
    metric = config.stop.metric
    graded = config.data.world is not None
    known = [rate for rate in RATES[config.command] if graded or rate not in GOLD]
    if metric is None or metric in known:
        return []
    if metric in GOLD:
        return [f"stop.metric: {metric} needs gold graders, which these data have not; choose {', '.join(known)}"]
    return [f"stop.metric: {metric!r} is none of {', '.join(known)}{meant(metric, known)}"]


# A check, and the parts of the configuration that it reads: it is made where a command has all of them.
CHECKS: list[tuple[tuple[str, ...], Callable[[Any], list[str]]]] = [
    (("run",), _run),
    (("max_steps", "epochs"), _limits),
    (("max_time",), _time),
    (("schedule",), _schedule),
    (("data",), _data),
    (("tokenizer",), _tokenizer),
    (("model", "data", "sampling"), _model),
    (("answers", "sampling"), _sample),
    (("annotate", "foreign", "noise", "held_out", "data"), _annotate),
    (("policies",), _policies),
    (("improve", "annotate", "rounds", "rank"), _pipeline),
    (("sources", "raters", "raters_per_prompt", "database"), people.rank),
    (("page",), people.page),
    (("minibatches", "batch", "sampling"), ppo.updates),
    (("kl",), ppo.kl),
    (("advantage", "batch"), ppo.advantage),
    (("judge", "advantage"), ppo.judge),
    (("judge", "advantage", "data"), ppo.rule),
    (("loss", "label_smoothing"), _dpo),
    (("adapter",), _adapter),
    (("adapter", "sampling"), _adapted_sampling),
    (("models", "init", "reference", "judged_by", "tasks", "launch"), _eval),
    (("models", "judged_by", "prompt", "format", "web", "page", "launch", "log"), _chat),
    (("stop",), _stop),
    (("stop", "data"), _rates),
]
