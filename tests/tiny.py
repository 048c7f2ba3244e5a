"""Stages small enough to run in a fraction of a second: 2 layers, width 32, 300 tokens, a handful of steps."""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmtrain.config.check import mapping
from llmtrain.config.compose import compose_stage
from llmtrain.data.microworld import rows as microworld
from llmtrain.data.microworld.world import World
from llmtrain.launch.processes import stage
from llmtrain.run import directory
from llmtrain.stages.plan import merged

LOOP = {"eval_every": 2, "save_every": 2, "keep_last": 2, "keep_best": 1}
STEPS = {"max_steps": 6, "epochs": None, "loop": LOOP, "batch": {"rows": 4, "micro_tokens": 256}}
SHORT = {"max_new_tokens": 4}
ROWS = {"rows": 40, "eval_rows": 6, "max_length": 160, "eval_fraction": 0.1}

OWN: dict[str, dict[str, Any]] = {
    "pretrain": STEPS
    | {
        "model": {"layers": 2, "width": 32, "heads": 2, "ffn_width": 48, "context": 192},
        "tokenizer": {"vocab_size": 300},
        "data": ROWS | {"max_length": 32},
        "sampling": SHORT,
        "choose": {"schedule": "cosine"},
        "optimizer": {"lr": 4e-3},
    },
    "sft": STEPS | {"data": ROWS, "sampling": SHORT},
    "sample": {"data": {"rows": 6, "max_length": 120}, "answers": 2, "foreign": 0, "policies": [], "sampling": SHORT},
    "reward": STEPS | {"data": ROWS | {"world": None}},
    "dpo": STEPS | {"data": ROWS | {"world": None}, "sampling": SHORT, "stop": "never"},
    "ppo": STEPS
    | {
        "max_steps": 4,
        "data": {"rows": 24, "eval_rows": 6, "max_length": 120},
        "batch": {"rows": 8, "micro_tokens": 256},
        "sampling": SHORT,
        "stop": "never",
        "choose": {"kl": "adaptive"},
        "kl": {"cap": None},
    },
    "eval": {"data": {"eval_rows": 6, "max_length": 120}, "sampling": SHORT},
}


def configured(command: str, root: Path, **changes: Any) -> Any:
    """The checked configuration of a tiny run below `root`."""
    shared = {
        "run": {"root": str(root), "name": "t"},
        "launch": {"threads": 1, "device": "cpu"},
        "log": {"progress": False, "report": False},
        "data": {"cache": str(root.parent / "cache")},
    }
    files = changes.pop("files", None)
    overrides = merged(shared, OWN[command], changes)
    if files:  # in place of the microworld
        data = merged(overrides.pop("data"), {"path": files, "rows": None, "world": None})
        overrides = {**overrides, "data": "files", **{f"data.{key}": value for key, value in data.items()}}
    return compose_stage(command, "tiny", overrides)


def created(command: str, root: Path, **changes: Any) -> Path:
    """A run directory that nobody has run yet."""
    path = root / command / "t" / directory.new_id()
    directory.create(path, mapping(configured(command, root, **changes)), argv=[])
    return path


def ran(command: str, root: Path, **changes: Any) -> Path:
    """A run directory after its run, in this process."""
    path = created(command, root, **changes)
    stage(command).run(configured(command, root, **changes), path)
    return path


@dataclass(frozen=True)
class Chain:
    """Runs that other stages begin with."""

    root: Path
    pretrain: Path
    sft: Path
    rankings: Path  # a file
    reward: Path

    def links(self, command: str) -> dict[str, Any]:
        """What ties a stage to the runs before it."""
        data = {"data": {"path": [str(self.rankings)]}}
        return {
            "pretrain": {},
            "sft": {"init": str(self.pretrain)},
            "sample": {"init": str(self.sft)},
            "reward": {"init": str(self.sft)} | data,
            "dpo": {"init": str(self.sft)} | data,
            "ppo": {"init": str(self.sft), "judge": {"init": str(self.reward)}},
            "eval": {"init": str(self.sft)},
        }[command]


def write_rankings(path: Path, rows: int, answers: int = 3) -> Path:
    """Rankings by gold: each prompt's good answer, its bad one, and other prompts' good answers behind both."""
    prompts = microworld.prompts(World(0), "train", rows, 0)
    rng = random.Random(0)
    lines = []
    for prompt in prompts:
        texts = [prompt.meta["good"], prompt.meta["bad"]]
        texts += [rng.choice(prompts).meta["good"] for _ in range(answers - 2)]
        texts = list(dict.fromkeys(texts))
        row = {"prompt": prompt.messages[-1].content, "responses": texts, "ranks": list(range(1, len(texts) + 1))}
        lines.append(json.dumps(row) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


def make_chain(folder: Path) -> Chain:
    root = folder / "runs"
    pretrain = ran("pretrain", root)
    sft = ran("sft", root, init=str(pretrain))
    rankings = write_rankings(folder / "rankings.jsonl", 40)
    reward = ran("reward", root, init=str(sft), data={"path": [str(rankings)]})
    return Chain(root, pretrain, sft, rankings, reward)
