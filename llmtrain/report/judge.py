"""What is recorded of a reward model: its reliability, its scores, its report card and probes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmtrain.report.collect import Run, Share, mapping, number, read_json

CARD = (
    ("eval/accuracy", "pairs in the right order"),
    ("eval/accuracy_like_length", "… of like length"),
    ("eval/accuracy_better_longer", "… the better one longer"),
    ("eval/accuracy_better_shorter", "… the better one shorter"),
    ("eval/accuracy_margin_1", "… one rank apart"),
    ("eval/accuracy_margin_2", "… two ranks apart"),
    ("eval/accuracy_margin_3_up", "… three and more"),
    ("eval/clean_accuracy", "rankings without noise"),
    ("eval/log_loss", "log-loss, nats"),
    ("eval/brier", "Brier score"),
    ("eval/ece", "calibration error"),
    ("eval/confidence", "mean confidence"),
    ("eval/score_length_correlation", "score follows length"),
)


@dataclass(frozen=True)
class Bin:
    """n pairs of like confidence, and how many of them were in the right order."""

    n: int
    accuracy: float
    confidence: float


@dataclass(frozen=True)
class Scores:
    """Histogram: answers in each bin between the edges, of the best of their prompts and of the others."""

    edges: list[float]
    best: list[int]
    others: list[int]


@dataclass(frozen=True)
class Judged:
    """A judge as far as it is recorded."""

    label: str
    bins: list[Bin]
    scores: Scores | None
    card: list[tuple[str, Share]]
    failed: list[str]
    probes: int


def judges(run: Run) -> Iterator[Judged]:
    """The judge that a reward run trained, or those that an eval examined."""
    if run.command == "reward":
        failed = run.result.get("probes_failed")
        yield _judged(run, "judge", "", [str(name) for name in failed] if isinstance(failed, list) else [])
    elif run.command == "eval":
        failures = mapping(run.result.get("probes_failed"))
        for label, names in failures.items():
            prefix = "" if len(mapping(run.result.get("models"))) == 1 else f"{label}/"
            yield _judged(run, label, prefix, [str(name) for name in names] if isinstance(names, list) else [])


def _judged(run: Run, label: str, prefix: str, failed: list[str]) -> Judged:
    told = mapping(mapping(read_json(_file(run))).get(label))
    card = [(name, share) for metric, name in CARD if (share := run.share(prefix + metric))]
    probes = [name for name in mapping(run.result.get("metrics")) if name.startswith(f"{prefix}probe/")]
    return Judged(label, list(_bins(told.get("bins"))), _scores(told.get("scores")), card, failed, len(probes))


def _file(run: Run) -> Path:
    """A reward run has a file an evaluation: that of the weights that were kept, else the newest."""
    if run.command == "eval":
        return run.path / "reliability.json"
    kept = number(run.result.get("kept"))
    folder = run.path / "reliability"
    own = folder / f"step-{int(kept or 0):08d}.json"
    return own if own.is_file() else max(folder.glob("step-*.json"), default=own)


def _bins(told: Any) -> Iterator[Bin]:
    for entry in map(mapping, told if isinstance(told, list) else []):
        n, right, sure = (number(entry.get(name)) for name in ("n", "accuracy", "confidence"))
        if n and n >= 1 and right is not None and sure is not None and 0 <= right <= 1:
            yield Bin(int(n), right, sure)


def _scores(told: Any) -> Scores | None:
    entry = mapping(told)
    edges, best, others = (_numbers(entry.get(name)) for name in ("edges", "best", "others"))
    if not edges or sorted(set(edges)) != edges or not len(edges) - 1 == len(best) == len(others):
        return None
    return Scores(edges, [int(n) for n in best], [int(n) for n in others])


def _numbers(told: Any) -> list[float]:
    found = [number(x) for x in told] if isinstance(told, list) else []
    return [x for x in found if x is not None]
