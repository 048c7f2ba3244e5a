"""The content of a page, part by part, as records that the template only lays out."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llmtrain.doctor.examine import DIAGNOSES
from llmtrain.report import answers, charts, curves, family
from llmtrain.report.collect import H, Run, Share, mapping, number
from llmtrain.report.curves import Chart
from llmtrain.report.judge import Judged, judges
from llmtrain.report.settings import Settings, settings, written
from llmtrain.run import directory

FIGURES = {  # command -> the numbers of its headline block, as far as there are any
    "pretrain": ("eval/loss", "eval/perplexity", "eval/bits_per_byte"),
    "sft": ("eval/loss", "eval/perplexity"),
    "sample": ("prompts", "answers", "ended", "rankings"),
    "reward": ("eval/accuracy", "eval/clean_accuracy", "eval/log_loss", "eval/ece"),
    "ppo": ("gold/helpful", "gold/honest", "gold/harmless", "eval/win_rate", "eval/score", "kl"),
    "dpo": ("gold/helpful", "gold/honest", "gold/harmless", "eval/accuracy", "eval/margin", "eval/kl"),
    "eval": ("gold/helpful", "gold/honest", "gold/harmless", "eval/win_rate", "eval/bits_per_byte", "eval/kl"),
}
NAMES = {
    "eval/loss": "held-out loss",
    "eval/perplexity": "perplexity",
    "eval/bits_per_byte": "bits per byte",
    "eval/accuracy": "pairs in order",
    "eval/clean_accuracy": "without noise",
    "eval/log_loss": "log-loss",
    "eval/ece": "calibration error",
    "eval/win_rate": "wins",
    "eval/score": "held-out score",
    "eval/margin": "margin",
    "eval/kl": "KL, nats",
    "kl": "KL, nats",
    "gold/min": "lowest of the three",
}


@dataclass(frozen=True)
class Limits:
    """columns: of a curve, two points each; shown: prompts of each H; characters: of a text; runs: in full."""

    columns: int
    shown: int
    characters: int
    runs: int


@dataclass(frozen=True)
class Figure:
    name: str
    share: Share


@dataclass(frozen=True)
class Part:
    """A run or a stage in full. facts: (what, value) of where it comes from."""

    run: Run
    told: str
    figures: list[Figure]
    charts: list[Chart]
    settings: Settings
    facts: list[tuple[str, str]]


def page(run: Run, limits: Limits) -> dict[str, Any]:
    """What the template needs of one run, or a pipeline with its stages."""
    inside = run.stages or [run]
    shares = run.hhh or {label: rates for stage in inside for label, rates in stage.hhh.items()}
    shares = shares or {stage.label: rates for stage in inside if (rates := graded(stage))}
    ppo = {stage.label: found for stage in inside if len(found := charts.points(stage)) > 1}
    return blank() | {
        "title": run.label,
        "kicker": directory.run_id(run.path) or run.path.name,
        "state": run.state,
        "told": told(run),
        "figures": figures(run),
        "tree": family.tree([run]),
        "found": run.found,
        "examined": len(inside),
        "hhh": shares,
        "forest": charts.forest(shares) if shares else [],
        "blocks": answers.blocks(run, limits.shown, limits.characters) if limits.shown else [],
        "judges": [(stage, judge, list(_pictures(judge))) for stage in inside for judge in judges(stage)],
        "against": charts.against(ppo) if ppo else [],
        "against_keys": against_keys(list(ppo)),
        "parts": [part(stage, limits) for stage in inside],
        "whole": part(run, limits) if run.stages else None,
        "notes": [(each.label, note) for each in run.everything for note in each.notes],
    }


def blank() -> dict[str, Any]:
    """What only one of the two kinds of page has, as if it were not there."""
    return {"lines": [], "columns": [], "headline": "", "scatter": [], "overlaid": [], "apart": [], "left_out": 0} | {
        "kicker": "",
        "state": "",
        "blocks": [],
        "judges": [],
        "whole": None,
        "figures": [],
        "H": H,
        "diagnoses": len(DIAGNOSES),
    }


def graded(run: Run) -> dict[str, Share]:
    """Shares of the three H of the one model that a run made or looked at."""
    if run.command == "pipeline" and run.hhh:
        return run.hhh[list(run.hhh)[-1]]
    return {h: share for h in H if (share := run.share(f"gold/{h}"))}


def part(run: Run, limits: Limits, drawn: bool = True) -> Part:
    return Part(
        run,
        told(run),
        figures(run),
        curves.charts(run, limits.columns) if drawn else [],
        settings(run),
        list(facts(run)),
    )


def told(run: Run) -> str:
    """How it ended and why, in a sentence."""
    took = seconds(run)
    after = f" after {duration(took)}" if took else ""
    reason = str(run.result.get("reason") or "no reason was recorded")
    if run.state == "running":
        return f"Still running, at step {run.step:,} when this page was made: a snapshot of what is there."
    if run.state == "died":
        return f"Died at step {run.step:,} and left no word; llmtrain resume goes on with it."
    steps = "" if run.command in ("pipeline", "eval", "sample") else f" at step {run.step:,}"
    return f"{run.state.capitalize()}{steps}{after}: {reason}."


def figures(run: Run) -> list[Figure]:
    """The numbers at the head of a run; of a pipeline those of the model it ended with."""
    if run.command == "pipeline":
        last = next((stage for stage in reversed(run.stages) if stage.command in ("ppo", "dpo")), None)
        found = [Figure(f"{h}", share) for h, share in graded(run).items()]
        return found + [figure for figure in (figures(last) if last else []) if figure.name == NAMES["kl"]]
    names = FIGURES.get(run.command, ())
    found = [Figure(NAMES.get(name, name.removeprefix("gold/")), share) for name in names if (share := run.share(name))]
    kl = number(run.result.get("kl"))
    return found + ([Figure(NAMES["kl"], Share(kl))] if kl is not None else [])


def facts(run: Run) -> Iterator[tuple[str, str]]:
    """Where a run comes from: folder, command line, time, parents, data, code, machine."""
    yield "folder", str(run.path)
    argv = run.lineage.get("argv")
    if isinstance(argv, list) and argv:
        yield "command line", " ".join(map(str, argv))
    created = number(run.lineage.get("created"))
    if created is not None:
        yield "begun", when(created)
    took = seconds(run)
    if took is not None:
        yield "took", duration(took)
    for role, entry in mapping(run.lineage.get("parents")).items():
        yield f"from {role}", f"{mapping(entry).get('path')}  sha256 {str(mapping(entry).get('digest'))[:16]}"
    for role, digest in mapping(run.lineage.get("data")).items():
        yield f"data, {role}", f"sha256 {digest}"
    git = mapping(run.lineage.get("git"))
    if git:
        yield "commit", f"{git.get('commit')}{', with changes' if git.get('changed') else ''}"
    for key, name in (("versions", "versions"), ("machine", "machine")):
        entries = mapping(run.lineage.get(key)).items()
        if entries:
            yield name, ", ".join(f"{what} {written(value)}" for what, value in entries)
    counts = run.record.counts
    if counts:
        yield "counted", ", ".join(f"{what} {n:,}" for what, n in counts.items())


def when(created: float) -> str:
    """A time in seconds as a date; a number that is none as it is."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(created))
    except (OverflowError, ValueError, OSError):
        return f"{created:g}"


def seconds(run: Run) -> float | None:
    return number(run.result.get("seconds"))


def duration(took: float) -> str:
    """Seconds for people: 31 s, 7 min 56 s, 3 h 20 min."""
    if took < 60:
        return f"{took:.0f} s" if took >= 10 else f"{took:.1f} s"
    minutes, rest = divmod(round(took), 60)
    hours, left = divmod(minutes, 60)
    return f"{hours:,} h {left} min" if hours else f"{minutes} min {rest} s"


def share(value: Share) -> str:
    """A share with two digits, any other number with four that count."""
    if value.low is not None:
        return f"{value.value:.2f}"
    if value.value == int(value.value) and abs(value.value) >= 2:
        return f"{int(value.value):,}"
    return f"{value.value:.3g}".replace("-", "\u2212")


def _pictures(judge: Judged) -> Iterator[Chart]:
    if judge.bins:
        yield charts.reliability(judge.bins)
    if judge.scores:
        yield charts.histogram(judge.scores)


def against_keys(labels: Sequence[str]) -> list[curves.Key]:
    """The legend of proxy against gold, where there are several runs in it."""
    return [curves.Key(n % 8 + 1, label, "line") for n, label in enumerate(labels)] if len(labels) > 1 else []
