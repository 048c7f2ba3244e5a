"""One point of an axis, measured in this process, which should be a fresh one: its peak of memory is the point's alone.

`rounds` 0 takes no time: two steps with a C library that gives every large block back at once, so that what is resident
is what is alive. That is what the plan tells of; as the program runs, the heap has holes besides.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.measure import interleaved
from llmtrain.estimate import flops, needs
from llmtrain.estimate.needs import Model
from llmtrain.estimate.shape import Decoding
from llmtrain.loop.update import Totals, update
from llmtrain.models import blank
from llmtrain.rollout.sample import generate
from llmtrain.stages import setup
from tests.estimate.measured import (
    FLASH,
    Case,
    built,
    case,
    configured,
    learner_of,
    predicted,
    resident,
    settle,
)
from tests.invariants import lab

ENOUGH = 3e10  # operations of a timed call, of as many steps as it takes: /proc/stat counts in hundredths of a second
GIVING = {-4: 65536, -3: 65536, -1: 65536, -2: 0}  # mallopt(3): M_MMAP_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD, _TOP_PAD
MOST = 2  # rounds in all, to one that is wanted
WRITTEN, ASKED = 64, 32  # tokens of an answer and of a prompt, where decoding is measured
SMALL = case("pretrain", "llama", 1, 32, 2, 64, 300, 64, 8, 400)

Record = dict[str, Any]


@dataclass
class Counted:
    """A step taken `repeats` times a call. The first call, which warms up, also counts the operations of one step."""

    step: Callable[[], None]
    repeats: int
    flops: int = 0

    def __call__(self) -> None:
        if self.flops:
            for _ in range(self.repeats):
                self.step()
            return
        with FlopCounterMode(display=False, custom_mapping=FLASH) as counter:
            self.step()
        self.flops = counter.get_total_flops()


def training(c: Case, rounds: int) -> Record:
    """Optimizer steps of the stage's own learner, beside what `llmtrain plan` says of the same configuration."""
    lab.words(c.vocab)
    config, before = configured(c), empty(rounds)
    learner = learner_of(c, config)
    optimizer, totals = setup.optimizer_of(config, learner.trained), Totals()
    learner.trained.train()

    def step() -> None:
        for window in learner.round(0):
            update(learner, optimizer, window, config.optimizer.clip_norm, learner.session.mesh, totals)

    model = learner.model.model if c.command == "reward" else learner.model
    plan = predicted(c, config, model)
    repeats = max(1, round(ENOUGH / plan.step.flops))
    told = timed(Counted(step, repeats), rounds, before)
    pairs = c.answers * (c.answers - 1) // 2
    counts = {
        "tokens": totals.tokens // totals.updates,
        "batches": sum(len(window) for window in learner.round(0)),
        "prompts": config.batch.rows,
        "pairs": config.batch.rows * pairs,
    }
    work = {"memory": plan.phases["update"], "flops": plan.step.flops, "dense": plan.step.dense, "steps": 0, "moved": 0}
    return told | {"counts": counts, "plan": work}


def decoding(rows: int, rounds: int) -> Record:
    """Answers of the rollout engine, all rows to their last token, and what the plan of `sample` says."""
    c = case("sample", "llama", 4, 128, 4, 352, 1024, ASKED + WRITTEN, 0, 0)
    before = empty(rounds)
    model, draws = built(c), torch.Generator().manual_seed(0)
    prompts = torch.randint(2, c.vocab, (rows, ASKED), generator=draws).tolist()
    uniforms = torch.rand(rows, WRITTEN, generator=draws) * 0.5 + 0.5
    limits = {"max_new_tokens": WRITTEN, "temperature": 1.0, "eos_id": -1, "batch_rows": rows}

    def step() -> None:
        generate(model, prompts, uniforms=uniforms, **limits)

    shape, asked = blank.shape(model.config), Decoding(rows, rows, ASKED, WRITTEN)
    work, own = flops.decoding(shape, asked, 4, 4), Model("policy", shape, asked=asked)
    told = timed(Counted(step, max(1, 8 // rows)), rounds, before)
    memory = needs.resident([own]) + needs.sampling(own, 4)
    plan = {"memory": memory, "flops": work.flops, "dense": work.dense, "steps": work.steps, "moved": work.moved}
    return told | {"counts": {"tokens": rows * WRITTEN, "steps": WRITTEN}, "plan": plan}


def empty(rounds: int) -> int:
    """Bytes that this process holds before there is a model, its libraries' own room taken; the peak starts here."""
    for parameter, value in GIVING.items() if not rounds else ():
        ctypes.CDLL(None).mallopt(parameter, value)
    learner = learner_of(SMALL, config := configured(SMALL))
    optimizer = setup.optimizer_of(config, learner.trained)
    for window in learner.round(0):  # libraries take room at first use
        update(learner, optimizer, window, 1.0, learner.session.mesh, Totals())
    del learner, optimizer, window
    settle()
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def timed(step: Counted, rounds: int, before: int) -> Record:
    """Seconds of a step, median of the rounds that count, and the peak over all of them."""
    if not rounds:
        step.step()
        step.step()  # the first one makes the moments
        return {"alive": resident("VmHWM") - before}
    found = interleaved({"step": step}, rounds, MOST * rounds)
    return {
        "seconds": found.seconds("step") / step.repeats,
        "spread": found.spread("step"),
        "rounds": len(found.rounds),
        "set_aside": found.set_aside,
        "clean": found.clean,
        "memory": resident("VmHWM") - before,
        "before": before,
        "flops": step.flops,
    }
