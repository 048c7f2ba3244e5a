"""Several runs, or the jobs of a sweep, on one page: the table, their settings against the result, their curves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llmtrain.report import charts, curves, family, parts
from llmtrain.report.collect import Found, Run, Share
from llmtrain.report.curves import Chart
from llmtrain.report.settings import apart, varied
from llmtrain.run import directory

SHOWN = 6  # keys that the table has a column for
SCATTERED = 9  # pictures of settings against the result
GRADED = 20  # runs in the table and the picture of grades


@dataclass(frozen=True)
class Line:
    """A run in the table of several. colour: of its curves, 0 when it is in none."""

    run: Run
    colour: int
    values: list[str]
    result: Share | None
    seconds: float | None


def page(runs: list[Run], sweep: str, limits: parts.Limits) -> dict[str, Any]:
    """What the template needs of several runs: the table, best first, and one picture for all where there can be."""
    headline = next((str(name) for run in runs if (name := run.result.get("headline"))), "")
    ranked = best_first(runs, headline)
    drawn = ranked[: limits.runs]
    differ = apart(ranked)
    settings = (varied(ranked) if sweep else []) or differ
    columns = [key for key, _ in settings][:SHOWN]
    values = dict(settings)
    lines = [
        Line(
            run,
            n + 1 if n < len(drawn) else 0,
            [values[key][n] for key in columns],
            run.share(headline),
            parts.seconds(run),
        )
        for n, run in enumerate(ranked)
    ]
    shares = {run.label: graded for run in ranked[:GRADED] if (graded := parts.graded(run))}
    over = {run.label: found for run in drawn if len(found := charts.points(run)) > 1}
    commands = ", ".join(dict.fromkeys(run.command for run in runs))
    return parts.blank() | {
        "title": f"{len(runs)} runs of {commands}",
        "kicker": f"sweep {sweep}" if sweep else "side by side",
        "told": _spread(lines, headline),
        "lines": lines,
        "columns": columns,
        "headline": headline,
        "tree": family.tree(ranked),
        "found": [_of(run, found) for run in ranked for found in run.found],
        "examined": len(runs),
        "hhh": shares,
        "forest": charts.forest(shares) if shares else [],
        "against": charts.against(over) if over else [],
        "against_keys": parts.against_keys(list(over)),
        "scatter": list(_scattered(lines, settings, headline)),
        "overlaid": curves.overlaid(drawn, limits.columns),
        "apart": differ if {key for key, _ in differ} - set(columns) else [],
        "parts": [parts.part(run, limits, drawn=False) for run in drawn],
        "left_out": len(ranked) - len(drawn),
        "notes": [(each.label, note) for run in runs for each in run.everything for note in each.notes],
    }


def best_first(runs: Sequence[Run], headline: str) -> list[Run]:
    """By the headline metric, those without one last."""
    lower = headline.endswith(directory.LOWER_IS_BETTER)

    def rank(run: Run) -> tuple[bool, float]:
        share = run.share(headline)
        return share is None, 0.0 if share is None else share.value if lower else -share.value

    return sorted(runs, key=rank)


def _spread(lines: Sequence[Line], headline: str) -> str:
    having = [line for line in lines if line.result]
    if not having or not headline:
        return "None of them has a result yet."
    best, worst = having[0], having[-1]
    of = f"{len(having)} of {len(lines)} have a result: " if len(having) < len(lines) else ""
    ends = [f"{parts.share(end.result)} ({end.run.label})" for end in (best, worst) if end.result]
    return f"{of}{headline} from {' to '.join(ends)}."


def _scattered(lines: Sequence[Line], settings: Sequence[tuple[str, list[str]]], headline: str) -> Iterator[Chart]:
    """The headline metric over each setting."""
    having = [n for n, line in enumerate(lines) if line.result]
    results = [result.value for line in lines if (result := line.result)]
    for key, values in settings[:SCATTERED] if len(results) > 1 else ():
        yield charts.scatter(key, [values[n] for n in having], results, headline)


def _of(run: Run, found: Found) -> Found:
    return Found(f"{run.label}: {found.name}", found.severe, found.says, found.steps, found.advice)
