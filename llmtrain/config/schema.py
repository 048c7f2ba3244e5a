"""The typed configuration: one plain dataclass per node. No torch, no Hydra in here.

Every field is required: defaults live in conf/*.yaml alone, with a comment that tells meaning, unit and source.
`number(low, high)` gives the closed range a value must lie in; config/check.py reports all faults at once.
"""

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from llmtrain.config.choices import Annotator, AnswerFormat, DPOLoss, Improve, Ranker, Stage, Tie
from llmtrain.config.nodes import (
    Adapter,
    Batch,
    Data,
    Decoding,
    Launch,
    Log,
    Loop,
    Model,
    Optimizer,
    Page,
    Run,
    Sampling,
    Schedule,
    Stop,
    Tokenizer,
)
from llmtrain.config.ppo import KL, Advantage, Clipping, Judge
from llmtrain.config.ranges import number


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
class Rank(Common):
    """The sampling, where there is one, is composed from `recipe` and the overrides under `sample`."""

    sources: list[str] = MISSING
    recipe: str = MISSING
    sample: dict[str, Any] = MISSING
    prompts: int | None = number(1)
    answers: int = number(2, 9)
    raters: list[str] = MISSING
    raters_per_prompt: int = number(1, 1000)
    database: str | None = MISSING
    page: Page = MISSING


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
    adapter: Adapter = MISSING
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
    adapter: Adapter = MISSING
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
class Chat(Common):
    """`llmtrain chat`: no run, so there is nothing to resume."""

    models: list[str] = MISSING
    judged_by: str | None = MISSING
    system: str | None = MISSING
    prompt: str | None = MISSING
    format: AnswerFormat = MISSING
    web: bool = MISSING
    page: Page = MISSING
    sampling: Decoding = MISSING


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
    annotate: Ranker = MISSING
    pretrain: dict[str, Any] = MISSING
    sft: dict[str, Any] = MISSING
    sample: dict[str, Any] = MISSING
    rank: dict[str, Any] = MISSING
    reward: dict[str, Any] = MISSING
    ppo: dict[str, Any] = MISSING
    dpo: dict[str, Any] = MISSING
    eval: dict[str, Any] = MISSING


_stages: tuple[type[Common], ...] = (Pretrain, SFT, Sample, Rank, Reward, PPO, DPO, Eval)
COMMANDS: dict[str, type[Common]] = {stage.__name__.lower(): stage for stage in _stages}
COMMANDS |= {"data": Preview, "chat": Chat, "pipeline": Pipeline}
