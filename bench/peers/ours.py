"""Our sides: the learners of the stages, stepped by the loop's own update; the machine set up as the product does."""

import json
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import numpy as np
from torch import Tensor

from bench import rewards
from bench.generate import ours as decode
from bench.peers import floor
from bench.peers.decoding import ending, workload
from bench.peers.side import Done, Gate
from bench.peers.windows import ADAMW, CLIP, Windows
from llmtrain.config.choices import CriticName
from llmtrain.data.order import Span
from llmtrain.data.sources import Source
from llmtrain.data.split import Split
from llmtrain.launch.mesh import open_mesh
from llmtrain.loop.optimizer import adamw
from llmtrain.loop.update import Totals, update
from llmtrain.models import causal, scalar
from llmtrain.models.scalar import Head
from llmtrain.rollout import sample
from llmtrain.rollout.judge import RewardJudge
from llmtrain.run.session import Session
from llmtrain.stages import inputs, policy
from llmtrain.stages.pretrain import Pretraining
from llmtrain.stages.sft import Instruction
from llmtrain.text import tokenizers
from tests.invariants import lab

MICRO = 4096  # conf/*.yaml: batch.micro_tokens


class Running:
    """A learner with its optimizer, on the way through its steps."""

    def __init__(self, learner: Any, lr: float = ADAMW["lr"]):
        self.learner, self.step = learner, 0
        self.optimizer = adamw(learner.trained, **(ADAMW | {"lr": lr}))

    def take(self, count: int) -> tuple[list[float], int]:
        """The loss of each step, and tokens."""
        losses, tokens = [], 0
        for _ in range(count):
            totals = Totals()
            self.learner.trained.train()
            for window in self.learner.round(self.step):
                update(self.learner, self.optimizer, window, CLIP, self.learner.session.mesh, totals)
            self.learner.trained.eval()
            if "loss" in totals.sums:
                losses.append(totals.sums["loss"] / totals.counts["loss"])
            tokens += totals.tokens
            self.step += 1
        return losses, tokens


def profiled(running: Running) -> dict[str, float]:
    """Where the time of a first step's forward and backward goes; no weight moves."""
    learner = running.learner
    (window,) = learner.round(0)
    items = sum(batch.items for batch in window)

    def call() -> None:
        for batch in window:
            (learner.loss(batch).total / items).backward()
        running.optimizer.zero_grad()

    return floor.shares(call)


class InOrder:
    """In place of data/order.py's permutations: the rows as they are, so that both sides see the same ones."""

    def __init__(self, n: int, rows: int):
        self.n, self.rows, self.steps_per_epoch = n, rows, -(-n // rows)

    def at(self, step: int) -> tuple[int, np.ndarray]:
        epoch, inside = divmod(step, self.steps_per_epoch)
        return epoch, np.arange(inside * self.rows, min(self.n, (inside + 1) * self.rows))


class InWindows:
    """In place of its stream: the windows that all sides read."""

    def __init__(self, windows: Windows):
        self.windows = windows

    def at(self, step: int, rows: int) -> list[list[Span]]:
        starts = [self.windows.start(step * rows + i) for i in range(rows)]
        return [[(0, start, start + self.windows.width + 1)] for start in starts]


def session(asked: dict[str, Any]) -> Session:
    """One process on a machine that is set up as `launch` does it."""
    return cast(Session, lab.Alone(mesh=open_mesh("cpu", "float32", asked["threads"])))


def source() -> Source:
    return cast(Source, SimpleNamespace(description="the rows of this bench"))


@contextmanager
def busy() -> Iterator[None]:
    """Another process takes a core meanwhile. It is our child, so its time is not counted as that of others."""
    loop = subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"])
    try:
        yield
    finally:
        loop.kill()
        loop.wait()


def pretrain(gate: Gate, asked: dict[str, Any]) -> None:
    """The learner of `llmtrain pretrain`; beside: while another process takes a core."""
    folder, rows, alone = Path(asked["folder"]), asked["rows"], session(asked)
    model = causal.load(folder / asked["model"], device=alone.mesh.device)
    windows = Windows(folder / "text.npy", asked["width"], rows)
    config = lab.settings("pretrain", doc_mask=False, batch={"rows": rows, "micro_tokens": MICRO})
    whole = np.array([[0, 0, len(windows.tokens)]])
    given = inputs.Rows(source(), lab.table(ids=[windows.tokens]), Split(whole, whole, ""), {})
    learner = Pretraining(config, model, tokenizers.load(str(folder / asked["model"])), given, alone)
    learner.stream = cast(Any, InWindows(windows))
    running = Running(learner)

    def work() -> Done:
        with busy() if asked.get("beside") else nullcontext():
            losses, tokens = running.take(asked["steps"])
        return Done(tokens, losses)

    flops = floor.training_flops(model, asked["width"], asked["width"], asked["width"] ** 2) / asked["width"]
    gate.ready(flops=flops, shares=profiled(running))
    gate.serve(work)


def sft(gate: Gate, asked: dict[str, Any]) -> None:
    """The learner of `llmtrain sft`."""
    folder, alone = Path(asked["folder"]), session(asked)
    model = causal.load(folder / asked["model"], device=alone.mesh.device)
    rows = json.loads((folder / "sft.json").read_text())
    every, ids, masks = np.arange(len(rows)), [row["ids"] for row in rows], [row["mask"] for row in rows]
    config = lab.settings("sft", batch={"rows": asked["rows"], "micro_tokens": MICRO})
    given = inputs.Rows(source(), lab.table(ids=ids, mask=masks), Split(every, every, ""), {})
    learner = Instruction(config, model, tokenizers.load(str(folder / asked["model"])), given, alone)
    learner.order = cast(Any, InOrder(len(rows), asked["rows"]))
    running = Running(learner)

    def work() -> Done:
        losses, tokens = running.take(asked["steps"])
        return Done(tokens, losses)

    tokens, targets = sum(map(len, ids)), sum(sum(mask[1:]) for mask in masks)
    squares = sum(len(row) ** 2 for row in ids)
    gate.ready(flops=floor.training_flops(model, tokens, targets, squares) / tokens, shares=profiled(running))
    gate.serve(work)


def reward(gate: Gate, asked: dict[str, Any]) -> None:
    """The learner of `llmtrain reward`, from bench/rewards.py; a round is `steps` steps."""
    folder, alone = Path(asked["folder"]) / asked["model"], session(asked)
    made = json.loads((folder / "rows.json").read_text())
    judging = rewards.learner(Namespace(**asked["size"]), made, tokenizers.load(str(folder)))
    scalar.load_weights(judging.model, folder)
    judging.session, judging.order = alone, cast(Any, InOrder(len(made), asked["rows"]))
    running, pairs = Running(judging), asked["answers"] * (asked["answers"] - 1) // 2

    def work() -> Done:
        losses, _ = running.take(asked["steps"])
        return Done(asked["steps"] * asked["rows"] * pairs, losses)

    gate.ready()
    gate.serve(work)


def generate(gate: Gate, asked: dict[str, Any]) -> None:
    """The rollout engine."""
    alone = session(asked)
    model = causal.load(Path(asked["folder"]) / asked["model"], device=alone.mesh.device)
    work = workload(asked["rows"], asked["prompts"], asked["answer"], model.config.vocab_size)
    gate.ready()
    gate.serve(lambda: Done(decode(model, *work)))


def ppo(gate: Gate, asked: dict[str, Any]) -> None:
    """The learner of `llmtrain ppo`: a round is one iteration on answers of set lengths."""
    folder, alone = Path(asked["folder"]), session(asked)
    device = alone.mesh.device
    model = causal.load(folder / asked["model"], device=device)
    prompts, lengths = workload(asked["rows"], asked["prompts"], asked["answer"], model.config.vocab_size)
    critic, own = CriticName(asked["critic"]), scalar.load(folder / "critic", device=device)
    learner = lab.alignment(
        model,
        critic=own if critic is CriticName.separate else Head(model.config.hidden_size),
        scorer=RewardJudge(scalar.load(folder / "judge", device=device).eval().requires_grad_(False), MICRO),
        prompts=prompts,
        tokenizer=SimpleNamespace(eos_token_id=0),
        batch={"rows": asked["rows"], "micro_tokens": MICRO},
        sampling={"max_new_tokens": int(lengths.max())},
        ppo_epochs=asked["epochs"],
        minibatches=asked["minibatches"],
        kl={"coef": asked["kl"]},
        clip={"ratio": asked["clip"]},
        advantage={
            "critic": critic, "gamma": 1.0, "lam": asked["lam"], "whiten": True,
            "value_clip": asked["clip"], "value_coef": asked["value_coef"],
        },
    )  # fmt: skip
    learner.session = alone
    running = Running(learner, asked["lr"])

    def work() -> Done:
        with patch.object(policy, "generate", _ending(lengths)):
            running.take(1)
        phases = {name.split("/")[1].removesuffix("_seconds"): s for name, s in learner.laps.metrics().items()}
        return Done(asked["rows"], phases=phases)

    gate.ready()
    gate.serve(work)


def _ending(lengths: Tensor) -> Callable[..., list[sample.Completion]]:
    """The engine, with draws under which the answers have these lengths."""

    def generate(*given: Any, uniforms: Tensor, **named: Any) -> list[sample.Completion]:
        said = sample.generate(*given, uniforms=ending(uniforms, lengths), **named)
        assert [len(answer.ids) for answer in said] == lengths.tolist()
        return said

    return generate


def products(gate: Gate, asked: dict[str, Any]) -> None:
    """The floor: the matrix products of a step, and of squares the best rate, as facts."""
    alone = session(asked)
    model = causal.load(Path(asked["folder"]) / asked["model"], device=alone.mesh.device)
    tokens, targets = asked["floor"] or _mean_step(Path(asked["folder"]) / "sft.json", asked["rows"])
    run, flops = floor.step(model, tokens, targets)
    best = max(map(_rate, floor.SQUARES))

    def work() -> Done:
        for _ in range(asked["steps"]):
            run()
        return Done(asked["steps"] * tokens)

    gate.ready(flops=flops / tokens, square=best)
    gate.serve(work)


def _mean_step(file: Path, rows: int) -> tuple[int, int]:
    """Tokens and targets of so many conversations."""
    read = json.loads(file.read_text())
    tokens, targets = sum(len(row["ids"]) for row in read), sum(sum(row["mask"][1:]) for row in read)
    return rows * tokens // len(read), rows * targets // len(read)


def _rate(size: int) -> float:
    """Operations a second of squares, the best of five."""
    call, flops = floor.square(size)
    seconds = []
    for _ in range(6):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return flops / min(seconds[1:])


SIDES = {
    "pretrain": pretrain, "sft": sft, "reward": reward, "generate": generate, "ppo": ppo, "products": products,
}  # fmt: skip
