"""The parts that several commands configure alike. No torch, no Hydra in here; see schema.py."""

from dataclasses import dataclass

from omegaconf import MISSING

from llmtrain.config.choices import Architecture, DataName, Device, Dtype, Engine, OnBadRow, ScheduleName, TokenizerName
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
    tune: bool = MISSING
    nproc_per_node: int = number(1, 256)


@dataclass
class Log:
    every: int = number(1)
    progress: bool = MISSING
    report: bool = MISSING
    tensorboard: bool | None = MISSING
    wandb: bool = MISSING
    trackio: bool = MISSING


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
class Adapter:
    rank: int = number(0)
    alpha: float | None = number(above=0)
    targets: list[str] = MISSING


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
class Decoding:
    max_new_tokens: int = number(1)
    temperature: float = number(0)


@dataclass
class Sampling(Decoding):
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
class Page:
    host: str = MISSING
    port: int = number(0, 65535)
    allow_remote: bool = MISSING
