"""`python -m tests.estimate.measured`: predicted and measured peak memory and FLOPs of real steps, as JSON lines.

A process of its own, so that the C library can be told to give every large block back (MALLOC_MMAP_THRESHOLD_) and
the resident set is what is alive; the kernel's peak is set to zero before a step and read behind it.
"""

import ctypes
import gc
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from llmtrain.config.choices import Annotator, Architecture
from llmtrain.data.records import Prompt
from llmtrain.data.split import Split
from llmtrain.estimate.needs import Needs
from llmtrain.loop.optimizer import adamw
from llmtrain.loop.update import Totals, update
from llmtrain.models import causal, scalar
from llmtrain.models.lora import Adapters
from llmtrain.rollout.judge import RewardJudge
from llmtrain.rollout.sample import generate
from llmtrain.stages import dpo, inputs, ppo, pretrain, reward, sft
from llmtrain.stages.blueprints import Blueprints
from llmtrain.stages.forecast import forecast
from tests import tiny
from tests.invariants import lab

ATEN = torch.ops.aten
FLASH = {  # torch's own formulas, for the kernel that it uses on a CPU and does not list
    ATEN._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    ATEN._scaled_dot_product_flash_attention_for_cpu_backward: lambda g, q, k, v, *_, **__: sdpa_backward_flop_count(
        g, q, k, v
    ),
}


@dataclass(frozen=True)
class Case:
    command: str
    model: dict[str, Any]
    architecture: str
    vocab: int
    length: int
    changes: dict[str, Any]
    answers: int = 1
    prompt: int = 1  # tokens of `length` that the answers to a prompt share

    @property
    def name(self) -> str:
        m = self.model
        mark = " adapters" if "adapter" in self.changes else ""
        mark += f" K={self.answers}" if self.answers > 1 else ""
        mark += f" P={self.prompt}" if self.prompt > 1 else ""
        return f"{self.command} {self.architecture} {m['layers']}x{m['width']} V={self.vocab} T={self.length}{mark}"


def case(
    command, architecture, layers, width, heads, ffn, vocab, length, rows, micro, answers=1, prompt=1, **changes
) -> Case:
    model = dict(layers=layers, width=width, heads=heads, ffn_width=ffn)
    batch = {"batch": {"rows": rows, "micro_tokens": micro}, "data": {"max_length": length, "eval_rows": 4}}
    return Case(command, model, architecture, vocab, length, tiny.merged(batch, changes), answers, prompt)


LORA = {"rank": 8, "alpha": 16.0}
NEW, DECODED = 24, 256  # tokens of an answer; answers of `sample`
CASES = [
    case("pretrain", "llama", 4, 96, 4, 256, 600, 256, 16, 9000),
    case("pretrain", "gpt2", 2, 64, 2, 256, 8000, 64, 64, 2100),
    case("pretrain", "llama", 2, 64, 2, 176, 500, 1024, 8, 4200),
    case("sft", "gpt2", 3, 128, 4, 512, 2000, 128, 32, 2048),
    case("reward", "llama", 4, 64, 2, 160, 900, 128, 8, 8192, answers=4),
    case("dpo", "gpt2", 3, 96, 3, 384, 3000, 96, 8, 2400, answers=3),
    case("ppo", "llama", 3, 64, 2, 176, 3000, 96, 64, 5000, minibatches=1, ppo_epochs=1),
    case("ppo", "gpt2", 2, 64, 2, 256, 40000, 48, 24, 2400, minibatches=1, ppo_epochs=1),
    case("ppo", "llama", 3, 96, 3, 256, 1500, 96, 48, 5000, minibatches=1, ppo_epochs=1, adapter=LORA),
    case("dpo", "gpt2", 3, 96, 3, 384, 3000, 96, 8, 2400, answers=3, adapter=LORA),
    case("reward", "llama", 3, 96, 4, 256, 900, 256, 16, 2500, answers=4, prompt=224),
    case("dpo", "llama", 3, 96, 4, 256, 1200, 256, 16, 2500, answers=4, prompt=208),
    case("ppo", "llama", 3, 96, 4, 256, 1500, 136, 48, 1600, answers=4, minibatches=1, ppo_epochs=1),
    case("sample", "gpt2", 4, 64, 4, 256, 5000, 96, 0, 0),
]  # fmt: skip


def built(c: Case, seed: int = 0) -> Any:
    return causal.build(
        c.architecture, **lab.SMALL | c.model | {"vocab_size": c.vocab, "context": c.length + NEW}, seed=seed
    )


def configured(c: Case) -> Any:
    """The checked configuration whose needs are told."""
    changes = dict(c.changes)
    if c.command in ("pretrain", "sft", "dpo", "ppo"):
        changes["sampling"] = {"max_new_tokens": NEW if c.command == "ppo" else 2}
    if c.command == "sample":
        changes = {
            "data": {"max_length": c.length, "rows": DECODED // 4},
            "sampling": {"max_new_tokens": NEW},
            "answers": 4,
        }
        changes |= {"annotate": Annotator.none, "held_out": 0}
    if c.command in ("pretrain",):
        own = {**c.model, "context": c.length + NEW, "tie_embeddings": False, "dropout": 0.0}
        changes |= {"model": {"name": Architecture(c.architecture), **own}, "tokenizer": {"vocab_size": c.vocab}}
    else:
        changes["init"] = "policy"
    if c.command == "ppo":
        changes |= {"kl": lab.FIXED, "judge": {"init": "policy"}}
        if c.answers > 1:
            changes["advantage"] = {"answers": c.answers}
    return lab.settings(c.command, **changes)


def predicted(c: Case, config: Any, model: Any) -> Needs:
    prints = Blueprints()
    prints.coming["policy"], prints.answers, prints.rankings = model.config, c.answers, 100.0
    prints.share = c.prompt / c.length
    return forecast(config, prints, cuda=False)


def learner_of(c: Case, config: Any) -> Any:
    """The stage's own learner on rows as long as they may be."""
    rng, session, words = np.random.default_rng(0), lab.Alone(), lab.words(c.vocab)
    n, source = config.batch.rows, SimpleNamespace(description="made")

    def ids(count: int) -> list[int]:
        return rng.integers(2, c.vocab, count).tolist()

    def rows(columns: Any, train: Any) -> Any:
        return inputs.Rows(source, lab.table(**columns), Split(train, np.arange(1), ""), {})

    model = built(c)
    if c.command == "pretrain":
        spans = np.array([[0, 0, 3 * n * c.length + 1]])
        found = rows({"ids": [ids(3 * n * c.length + 1)], "row": [[0]]}, spans)
        found = inputs.Rows(source, found.table, Split(spans, spans, ""), {})
        return pretrain.Pretraining(config, model, words, found, session)
    if c.command == "sft":
        table = {"ids": [ids(c.length) for _ in range(2 * n)], "mask": [[1] * c.length] * (2 * n)}
        return sft.Instruction(config, model, words, rows(table | {"row": [[0]] * (2 * n)}, np.arange(2 * n)), session)
    if c.command in ("reward", "dpo"):
        k = c.answers
        table = {
            "prompt": [ids(c.prompt) for _ in range(2 * n)],
            "responses": [ids(k * (c.length - c.prompt)) for _ in range(2 * n)],
            "response_lengths": [[c.length - c.prompt] * k] * (2 * n),
            "ranks": [list(range(1, k + 1))] * (2 * n),
            "row": [[0]] * (2 * n),
        }
        found = rows(table, np.arange(2 * n))
        adapters = adapted(config, model)
        if c.command == "reward":
            return reward.Judging(config, scalar.from_causal(model, seed=0), words, found, None, session)
        return dpo.Preferences(config, model, adapters or built(c, 1), words, found, None, session, adapters)
    prompts = [ids(c.length) for _ in range(n // c.answers)]
    critic, judge = scalar.from_causal(model, seed=1), scalar.from_causal(model, seed=2)
    scorer = RewardJudge(judge.eval().requires_grad_(False), config.batch.micro_tokens)
    asked = inputs.Prompts([Prompt(()) for _ in prompts], prompts, "")
    adapters = adapted(config, model)
    reference = adapters or built(c).eval().requires_grad_(False)
    return ppo.Alignment(config, model, reference, critic, scorer, words, asked, None, session, adapters)


def adapted(config: Any, model: Any) -> Adapters | None:
    own = config.adapter if config.command != "reward" else None
    return Adapters(model, rank=own.rank, alpha=own.alpha, targets=[], seed=0) if own and own.rank else None


def stepper(c: Case, config: Any) -> Any:
    """A function that takes one step as the loop does, and the model whose configuration tells the rest."""
    if c.command == "sample":
        model = built(c)
        prompts = np.random.default_rng(0).integers(2, c.vocab, (DECODED, c.length)).tolist()
        uniforms = torch.rand(DECODED, NEW, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.5
        limits = {"max_new_tokens": NEW, "temperature": 1.0, "eos_id": 0, "batch_rows": DECODED}
        return lambda: generate(model, prompts, uniforms=uniforms, **limits), model
    learner = learner_of(c, config)
    kept = built(c) if c.command == "reward" else None  # the stage's own, until the run ends
    optimizer = adamw(learner.trained, lr=1e-5, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.0)
    for parameter in learner.trained.parameters():  # the moments are made at the first update
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)

    def step() -> None:
        assert kept is None or kept.training is False
        learner.trained.train()
        for window in learner.round(0):
            update(learner, optimizer, window, 1.0, learner.session.mesh, Totals())

    return step, learner.model if c.command != "reward" else kept


def resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def settle() -> None:
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)


def measure(c: Case) -> dict[str, Any]:
    settle()
    before = resident("VmRSS")
    config = configured(c)
    step, model = stepper(c, config)
    settle()
    Path("/proc/self/clear_refs").write_text("5")
    with FlopCounterMode(display=False, custom_mapping=FLASH) as counter:
        step()
    peak = resident("VmHWM") - before
    needs = predicted(c, config, model)
    told = {"memory": [needs.peak, peak], "flops": [needs.step.flops, counter.get_total_flops()]}
    return {"case": c.name, **told, "phases": needs.phases}


def main() -> None:
    torch.set_num_threads(1)
    wanted = [int(n) for n in sys.argv[1:]] or range(len(CASES))
    measure(case("pretrain", "gpt2", 1, 32, 2, 64, 600, 64, 8, 400))  # libraries take their own room at first use
    for number in wanted:
        print(json.dumps(measure(CASES[number])), flush=True)


if __name__ == "__main__":
    main()
