"""The typed configuration: one plain dataclass per node. No torch, no Hydra in here.

Every field is required: defaults live in conf/*.yaml alone, with a comment that tells meaning, unit and source.
`number(low, high)` gives the closed range a value must lie in; config/check.py reports all faults at once.
"""

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from llmtrain.config.choices import Annotator, Architecture, DataName, Device, DPOLoss, Dtype, Engine, Improve

# isort: split
from llmtrain.config.choices import OnBadRow, ScheduleName, Stage, Tie, TokenizerName
from llmtrain.config.ppo import KL, Advantage, Clipping, Judge
from llmtrain.config.ranges import number


@dataclass
class Run:
    root: str = MISSING
    name: str = MISSING


@dataclass
class Launch:
    device: Device = MISSING
    dtype: Dtype = MISSING
    threads: int = number(0, 1024)
    nproc_per_node: int = number(1, 256)


@dataclass
class Log:
    every: int = number(1)
    progress: bool = MISSING
    tensorboard: bool | None = MISSING
    wandb: bool = MISSING


@dataclass
class Model:
    name: Architecture = MISSING
    layers: int = number(1)
    width: int = number(1)
    heads: int = number(1)
    ffn_width: int = number(1)
    context: int = number(2)
    tie_embeddings: bool = MISSING
    embedding_std: float = number(0)
    init_std: float = number(0)
    dropout: float = number(0, 1)


@dataclass
class Tokenizer:
    name: TokenizerName = MISSING
    vocab_size: int = number(0)
    path: str | None = MISSING


@dataclass
class Data:
    name: DataName = MISSING
    path: list[str] = MISSING
    split: str = MISSING
    text_column: str | None = MISSING
    rows: int | None = number(1)
    eval_rows: int = number(1)
    eval_fraction: float = number(0, 0.9)
    max_length: int = number(2)
    on_bad_row: OnBadRow = MISSING
    world: int | None = number(0)
    cache: str = MISSING


@dataclass
class Batch:
    rows: int = number(1)
    micro_tokens: int = number(1)


@dataclass
class Optimizer:
    lr: float = number(0)
    beta1: float = number(0, below=1)
    beta2: float = number(0, below=1)
    eps: float = number(0)
    weight_decay: float = number(0)
    clip_norm: float = number(above=0)


@dataclass
class Schedule:
    name: ScheduleName = MISSING
    warmup: float = number(0, 1)
    final: float = number(0, 1)
    decay: float = number(0, 1)


@dataclass
class Loop:
    eval_every: int = number(1)
    save_every: int = number(1)
    keep_last: int = number(1)
    keep_best: int = number(0)
    max_skipped: int = number(0)


@dataclass
class Sampling:
    max_new_tokens: int = number(1)
    temperature: float = number(0)
    batch_rows: int = number(1)
    engine: Engine = MISSING


@dataclass
class Stop:
    metric: str | None = MISSING
    threshold: float | None = MISSING
    confidence: float | None = number(0.5, 0.9999)
    patience: int | None = number(1)
    min_steps: int | None = number(0)


@dataclass
class Common:
    command: str = MISSING
    seed: int = number(0, 2**63 - 1)
    run: Run = MISSING
    launch: Launch = MISSING
    log: Log = MISSING


@dataclass
class Training(Common):
    """What every training stage has. One of max_steps and epochs is set; max_time ("90s", "2h") may end it sooner."""

    data: Data = MISSING
    optimizer: Optimizer = MISSING
    schedule: Schedule = MISSING
    loop: Loop = MISSING
    batch: Batch = MISSING
    max_steps: int | None = number(1, 10**9)
    epochs: float | None = number(above=0)
    max_time: str | None = MISSING


@dataclass
class Pretrain(Training):
    init: str | None = MISSING
    model: Model = MISSING
    tokenizer: Tokenizer = MISSING
    sampling: Sampling = MISSING
    doc_mask: bool = MISSING
    sample_prompts: list[str] = MISSING


@dataclass
class SFT(Training):
    init: str = MISSING
    sampling: Sampling = MISSING


@dataclass
class Sample(Common):
    init: str = MISSING
    data: Data = MISSING
    sampling: Sampling = MISSING
    answers: int = number(1)
    policies: list[str] = MISSING
    foreign: int = number(0)
    annotate: Annotator = MISSING
    noise: float = number(0, 1)
    held_out: int = number(0)


@dataclass
class Reward(Training):
    init: str = MISSING
    tie: Tie = MISSING
    normalise: bool = MISSING
    probe_threshold: float = number(0, 1)


@dataclass
class PPO(Training):
    init: str = MISSING
    reference: str | None = MISSING
    judge: Judge = MISSING
    sampling: Sampling = MISSING
    kl: KL = MISSING
    advantage: Advantage = MISSING
    clip: Clipping = MISSING
    ppo_epochs: int = number(1)
    minibatches: int = number(1)
    target_kl: float | None = number(above=0)
    stop: Stop = MISSING


@dataclass
class DPO(Training):
    init: str = MISSING
    loss: DPOLoss = MISSING
    beta: float = number(above=0)
    label_smoothing: float = number(0, 0.5)
    sampling: Sampling = MISSING
    stop: Stop = MISSING


@dataclass
class Eval(Common):
    init: str | None = MISSING
    models: list[str] = MISSING
    reference: str | None = MISSING
    judged_by: str | None = MISSING
    tasks: list[str] = MISSING
    data: Data = MISSING
    sampling: Sampling = MISSING
    micro_tokens: int = number(1)


@dataclass
class Preview(Common):
    """`llmtrain data`: what a stage will see."""

    init: str | None = MISSING
    stage: Stage = MISSING
    data: Data = MISSING
    tokenizer: Tokenizer = MISSING
    show: int = number(1)


@dataclass
class Pipeline(Common):
    """Every stage's own configuration is composed from `recipe` and the overrides under the stage's name."""

    recipe: str = MISSING
    rounds: int = number(1)
    improve: Improve = MISSING
    annotate: Annotator = MISSING
    pretrain: dict[str, Any] = MISSING
    sft: dict[str, Any] = MISSING
    sample: dict[str, Any] = MISSING
    reward: dict[str, Any] = MISSING
    ppo: dict[str, Any] = MISSING
    dpo: dict[str, Any] = MISSING
    eval: dict[str, Any] = MISSING


_stages: tuple[type[Common], ...] = (Pretrain, SFT, Sample, Reward, PPO, DPO, Eval)
COMMANDS: dict[str, type[Common]] = {stage.__name__.lower(): stage for stage in _stages}
COMMANDS |= {"data": Preview, "pipeline": Pipeline}
