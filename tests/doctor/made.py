"""Runs for the doctor: recorded ones, and made ones that are healthy but for what a test changes."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmtrain.doctor.examine import record_of
from llmtrain.doctor.record import Record

RECORDED = Path(__file__).parent / "recorded"
Number = float | Callable[[int], float]  # the same each time, or by the index of the row
COUNTS = {"ppo/ended": 64, "eval/win_rate": 200, "gold/helpful": 100, "gold/honest": 200, "gold/harmless": 30}


def recorded(name: str) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Rows and counts of a real run, four digits each; of all but ppo only the evaluations and some steps between."""
    first, *lines = (RECORDED / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines], json.loads(first)["counts"]


def value(number: Number, i: int) -> float:
    return number(i) if callable(number) else number


def ppo(rounds: int = 30, every: int = 3, counts: dict[str, int] | None = None, **changes: Number) -> Record:
    """Rounds 1.. and an evaluation after each `every`; a change is of `ppo_kl` and the like, by round or evaluation."""
    noise = random.Random(0)
    healthy: dict[str, Number] = {
        "ppo/score": lambda i: -1.5 + min(i, 20) * 0.07 + noise.gauss(0, 0.1),
        "ppo/score_sd": 1.3,
        "ppo/kl": lambda i: min(i, 15) * 0.05 + noise.gauss(0, 0.02),
        "ppo/kl_se": 0.05,
        "ppo/length": lambda i: 15 + min(i, 10) * 0.6 + noise.gauss(0, 1),
        "ppo/ended": 0.99,
        "ppo/entropy": lambda i: 0.2 * 0.93**i,
        "ppo/explained_variance": lambda i: 0.9 - 1.5 / (1 + i),
        "ppo/score_length_correlation": lambda i: 0.5 + noise.gauss(0, 0.1),
        "train/value_loss": lambda i: 1.5 * 0.9**i,
    }
    held: dict[str, Number] = {
        "eval/score": lambda i: -1.7 + min(i, 5) * 0.35,
        "gold/helpful": lambda i: (0.93, 0.9, 0.88, 0.91)[i % 4],
        "gold/honest": lambda i: min(0.95, 0.2 + 0.25 * i),
    }
    given = {name.replace("_", "/", 1): number for name, number in changes.items()}
    healthy |= {name: number for name, number in given.items() if not name.startswith(("eval/", "gold/"))}
    held |= {name: number for name, number in given.items() if name.startswith(("eval/", "gold/"))}
    rows: list[dict[str, Any]] = []
    for i in range(rounds + 1):
        if i:
            rows.append({"step": i, **{name: value(number, i - 1) for name, number in healthy.items()}})
        if i % every == 0:
            rows.append({"step": i, **{name: value(number, i // every) for name, number in held.items()}})
    return record_of(rows, COUNTS if counts is None else counts)


def ungraded(**changes: Number) -> Record:
    """The same without gold grades."""
    nan = float("nan")
    return ppo(gold_helpful=nan, gold_honest=nan, **changes)


def judge(prompts: int = 100, cards: int = 2, **changes: float) -> Record:
    """The report cards of a reward run."""
    card = {"accuracy": 0.86, "log_loss": 0.33, "confidence": 0.85, "length_correlation": -0.2} | changes
    rows = [{"step": 100 * (i + 1), **{f"eval/{name}": x for name, x in card.items()}} for i in range(cards)]
    return record_of(rows, {"eval/accuracy": prompts})


def rows(**changes: int) -> Record:
    """Counted rows and nothing else."""
    counts = {"rows": 1000, "train": 950, "eval": 50, "empty": 2, "repeated": 20, "leaked": 1} | changes
    return record_of([], {f"data/{name}": n for name, n in counts.items()})
