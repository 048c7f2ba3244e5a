"""The peers that own their loop: the Trainer of transformers and those of TRL, held between two steps by a callback."""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from trl import RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

from bench.peers.side import Done, Gate
from bench.peers.windows import ADAMW, CLIP, Windows

Amount = Callable[[dict[str, Any]], float]  # the work in a batch, in the contest's unit


class Held(TrainerCallback):
    """Lets a trainer take `steps` steps a round. It logs the loss of a step only behind it: each comes a step late."""

    def __init__(self, gate: Gate, steps: int):
        self.gate, self.steps = gate, steps
        self.taken, self.amount, self.losses = 0, 0.0, []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.gate.ready()
        self._next()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.taken += 1
        if self.taken == self.steps:
            self.gate.answer(Done(self.amount, self.losses))
            self._next()

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        if "loss" in logs:
            self.losses.append(float(logs["loss"]))

    def _next(self) -> None:
        self.taken, self.amount, self.losses = 0, 0.0, []
        if not self.gate.wait():
            sys.exit(0)


def _hold(trainer: Trainer, held: Held, amount: Amount) -> None:
    """Train under `held`, which hears of the work in each batch."""
    whole = trainer.training_step

    def step(model: Any, inputs: dict[str, Any], *rest: Any, **named: Any) -> Any:
        held.amount += amount(inputs)
        return whole(model, inputs, *rest, **named)

    trainer.training_step = step  # type: ignore[method-assign]
    trainer.add_callback(held)
    trainer.train()


def _settings(asked: dict[str, Any], kind: type[TrainingArguments] = TrainingArguments, **own: Any) -> Any:
    """What all trainers are told: our optimizer, float32, rows in their order, no files."""
    torch.set_num_threads(asked["threads"])
    given = dict(
        output_dir=tempfile.mkdtemp(dir=asked["folder"]), max_steps=10**6, per_device_train_batch_size=asked["rows"],
        learning_rate=ADAMW["lr"], adam_beta1=ADAMW["betas"][0], adam_beta2=ADAMW["betas"][1],
        adam_epsilon=ADAMW["eps"], weight_decay=ADAMW["weight_decay"], max_grad_norm=CLIP,
        lr_scheduler_type="constant", train_sampling_strategy="sequential", use_cpu=True, bf16=False,
        gradient_checkpointing=False, dataloader_pin_memory=False, logging_steps=1, disable_tqdm=True,
        report_to="none", save_strategy="no",
    )  # fmt: skip
    return kind(**(given | own))


def pretrain(gate: Gate, asked: dict[str, Any]) -> None:
    """Trainer on windows of text; transformers shifts the labels itself."""
    folder = Path(asked["folder"])
    windows = Windows(folder / "text.npy", asked["width"], asked["rows"])
    rows = [{"input_ids": windows[i], "labels": windows[i]} for i in range(len(windows))]
    model = AutoModelForCausalLM.from_pretrained(folder / asked["model"], dtype=torch.float32)
    trainer = Trainer(model, _settings(asked), train_dataset=rows)  # type: ignore[arg-type]  # a list is a dataset
    _hold(trainer, Held(gate, asked["steps"]), lambda batch: batch["labels"][:, 1:].numel())


def sft(gate: Gate, asked: dict[str, Any]) -> None:
    """SFTTrainer on rows that are tokenised already, with its own padding, grouping or packing."""
    folder = Path(asked["folder"])
    rows = json.loads((folder / "sft.json").read_text())
    labels = [[t if m else -100 for t, m in zip(row["ids"], row["mask"], strict=True)] for row in rows]
    dataset = Dataset.from_dict({"input_ids": [row["ids"] for row in rows], "labels": labels})
    model = AutoModelForCausalLM.from_pretrained(folder / asked["model"], dtype=torch.float32)
    trainer = SFTTrainer(
        model, _settings(asked, SFTConfig, max_length=asked["longest"], **asked["options"]),
        train_dataset=dataset, processing_class=AutoTokenizer.from_pretrained(folder / asked["model"]),
    )  # fmt: skip

    def useful(batch: dict[str, Any]) -> float:
        return float(batch["attention_mask"].sum()) if "attention_mask" in batch else batch["input_ids"].numel()

    _hold(trainer, Held(gate, asked["steps"]), useful)


def reward(gate: Gate, asked: dict[str, Any]) -> None:
    """RewardTrainer: an example is a pair, a ranking of K answers is K(K-1)/2 of them."""
    folder = Path(asked["folder"]) / asked["model"]
    pairs = json.loads((folder / "pairs.json").read_text())
    dataset = Dataset.from_dict({"chosen_ids": [c for c, _ in pairs], "rejected_ids": [r for _, r in pairs]})
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32)
    trainer = RewardTrainer(
        model, _settings(asked, RewardConfig), train_dataset=dataset,
        processing_class=AutoTokenizer.from_pretrained(folder),
    )  # fmt: skip
    _hold(trainer, Held(gate, asked["steps"]), lambda batch: len(batch["input_ids"]) / 2)


SIDES = {"pretrain": pretrain, "sft": sft, "reward": reward}
