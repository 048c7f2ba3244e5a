"""What the doctor says of a run directory: from metrics.jsonl and counts.json, or as result.json has recorded it."""

import json
from pathlib import Path
from typing import Any

from llmtrain.doctor.examine import examine, record_of
from llmtrain.doctor.record import Finding
from llmtrain.errors import RunError
from llmtrain.run import directory, metrics

COUNTS = "counts.json"


def read_counts(path: Path) -> dict[str, int]:
    """How many rows and prompts there are of what; none in a run that did not get so far, or of an earlier version."""
    try:
        found = json.loads((path / COUNTS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return {name: n for name, n in found.items() if isinstance(n, int)} if isinstance(found, dict) else {}


def of(path: Path) -> list[Finding]:
    """All that holds for the run in `path` as it stands."""
    return examine(record_of(metrics.read(path / "metrics.jsonl"), read_counts(path)))


def names(result: dict[str, Any]) -> list[str]:
    """The names of what a result records."""
    recorded = result.get("findings")
    entries = recorded if isinstance(recorded, list) else []
    return list(dict.fromkeys(str(entry["name"]) for entry in entries if isinstance(entry, dict) and "name" in entry))


def report(paths: list[Path]) -> list[str]:
    """Lines about runs, and about the stages of those that are pipelines; the last one counts."""
    runs = [run for path in paths for run in (path, *sorted(path.iterdir())) if (run / directory.CONFIG).is_file()]
    lines, silent, sick, examined = [], [], 0, 0
    for run in dict.fromkeys(run.resolve() for run in runs):
        if not metrics.read(run / "metrics.jsonl"):
            result = directory.read_result(run)
            how = f"; it {result['status']}: {result.get('reason')}" if result else " yet"
            silent.append(f"{run}: nothing was logged{how}")
            lines += silent[-1:] if result and result["status"] not in directory.DONE else []
            continue
        found = of(run)
        examined, sick = examined + 1, sick + bool(found)
        unasked = "" if (run / COUNTS).is_file() else f" (without {COUNTS} not everything could be asked)"
        lines += [f"{run}: {finding}" for finding in found] or [f"{run}: nothing found{unasked}"]
    if not examined:
        raise RunError("\n".join(silent or [f"{path}: no run" for path in paths]) + "; llmtrain runs lists the runs")
    return [*lines, f"{examined} runs examined, {sick} with findings"]
