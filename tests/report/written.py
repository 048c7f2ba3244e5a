"""Run directories as the program leaves them, made without a model."""

import json
from pathlib import Path
from typing import Any

from llmtrain.run import directory

ID = "20260101-000000-00000{}"
SHARE = {"rate": 0.9, "n": 40, "combinations": 40, "low": 0.77, "high": 0.96}
RATES = {"helpful": SHARE, "honest": SHARE | {"rate": 0.5, "low": 0.35, "high": 0.65}, "harmless": SHARE}


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def ppo_rows(steps: int) -> list[dict[str, Any]]:
    """A run whose gold grades rise and whose KL grows."""
    rows: list[dict[str, Any]] = []
    for step in range(steps + 1):
        if step:
            rows.append(
                {"step": step, "ppo/score": step / 10, "ppo/kl": step / 20, "ppo/entropy": 1 / step, "train/lr": 1e-4}
            )
        if step % 3 == 0:
            gold = {f"gold/{h}": 0.5 + step / 100 for h in ("helpful", "honest", "harmless")}
            rows.append({"step": step, "eval/score": step / 10 - 1, **gold})
    return rows


def run(
    path: Path,
    command: str = "ppo",
    *,
    name: str = "demo",
    rows: list[dict[str, Any]] | None = None,
    status: str | None = "finished",
    reason: str = "all steps done",
    config: dict[str, Any] | None = None,
    argv: list[str] | None = None,
    recipe: dict[str, Any] | None = None,
    **result: Any,
) -> Path:
    """A run directory; status None leaves it without a result."""
    given = {"command": command, "run": {"root": "runs", "name": name}, **(config or {})}
    directory.create(path, given, argv or [f"llmtrain {command}"], recipe)
    (path / "metrics.jsonl").write_text(lines(ppo_rows(12) if rows is None else rows))
    if status:
        record = {"headline": "eval/score", "value": 0.2, "kept": 9, "seconds": 61.0, "findings": []} | result
        directory.write_result(path, status, reason, 12, record.pop("metrics", {"eval/score": 0.2}), **record)
    return path


def answered(labels: list[str], prompts: list[str], texts: list[str]) -> list[dict[str, Any]]:
    """Rows of answers.jsonl: each model answers each prompt with the text at its place."""
    return [
        {
            "prompt": prompt,
            "h": ("helpful", "honest", "harmless")[n % 3],
            "answers": {label: {"text": texts[n % len(texts)], "ended": True, "level": n % 4} for label in labels},
        }
        for n, prompt in enumerate(prompts)
    ]


def pipeline(folder: Path, **own: Any) -> Path:
    """A pipeline with an sft, a reward, a ppo stage and two evaluations; own: of the pipeline's run."""
    path = run(folder / ID.format(9), "pipeline", rows=[], hhh={"sft": RATES, "ppo": RATES}, **own)
    run(path / "sft", "sft", rows=[{"step": n, "train/loss": 1 / n} for n in range(1, 100)])
    reward = run(path / "reward", "reward", metrics={"eval/accuracy": 0.8, "probe/a/b": 1.0}, probes_failed=[])
    (reward / "reliability").mkdir()
    record = {
        "bins": [{"low": 0.5, "high": 0.6, "n": 9, "accuracy": 0.5, "confidence": 0.55}]
        + [{"low": 0.9, "high": 1.0, "n": 40, "accuracy": 0.95, "confidence": 0.97}],
        "scores": {"edges": [0.0, 1.0, 2.0], "best": [1, 9], "others": [8, 2]},
    }
    (reward / "reliability" / "step-00000009.json").write_text(json.dumps({"judge": record}))
    ppo = run(path / "ppo", "ppo", intervals={"gold/helpful": {"n": 40, "interval": [0.4, 0.8]}})
    (ppo / "counts.json").write_text(json.dumps({"gold/helpful": 40, "gold/honest": 40, "gold/harmless": 40}))
    for stage in ("sft", "ppo"):
        one = run(path / f"eval-{stage}", "eval", rows=[], models={stage: "x"}, hhh={stage: RATES})
        prompts = [f"question {n}?" for n in range(30)]
        (one / "answers.jsonl").write_text(lines(answered([stage], prompts, [f"an answer of {stage}"])))
    return path
