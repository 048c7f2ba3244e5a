"""The end of a sweep: one table of its jobs, best first, printed and written as sweep.csv."""

import csv
import json
import re
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from llmtrain.run import directory

LOWER_IS_BETTER = ("loss", "perplexity", "bits_per_byte")
JOB = re.compile(r"\d+-.+")


def rows(folder: Path) -> list[dict[str, Any]]:
    """The jobs under `folder` with their final metrics, best headline metric first, those without one last."""
    found = [_row(path) for path in folder.iterdir() if path.is_dir() and JOB.fullmatch(path.name)]
    lower = any(row["headline"].endswith(LOWER_IS_BETTER) for row in found)

    def rank(row: dict[str, Any]) -> tuple[bool, float, int]:
        value = row["value"]
        return value is None, 0.0 if value is None else value if lower else -value, row["job"]

    return sorted(found, key=rank)


def _row(path: Path) -> dict[str, Any]:
    record = directory.read_result(path) or {}
    return {
        "job": int(path.name.partition("-")[0]),
        "overrides": " ".join(_overrides(path)),
        "status": record.get("status", "failed"),
        "step": record.get("step"),
        "headline": record.get("headline") or "",
        "value": record.get("value"),
        "run": str(path),
        **record.get("metrics", {}),
    }


def _overrides(path: Path) -> list[str]:
    """The job's overrides from its lineage; a job that failed before it had one is known by its folder's name."""
    try:
        argv = json.loads((path / directory.LINEAGE).read_text(encoding="utf-8"))["argv"]
    except FileNotFoundError:
        return [path.name.partition("-")[2]]
    return argv[1:]


def report(folder: Path) -> int:
    """Print the table of the sweep in `folder` and write it as sweep.csv; the exit code: 1 when a job failed."""
    table = rows(folder) if folder.is_dir() else []
    if not table:
        return 1
    columns = list(dict.fromkeys(key for row in table for key in row))
    with (folder / "sweep.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, fieldnames=columns)
        writer.writeheader()
        writer.writerows(table)
    view = Table(title=f"sweep {folder}", title_justify="left")
    for column in ("job", "overrides", "status", "step", table[0]["headline"] or "value"):
        view.add_column(column, overflow="fold")
    for row in table:
        value = "" if row["value"] is None else f"{row['value']:.5g}"
        view.add_row(str(row["job"]), row["overrides"], row["status"], str(row["step"] or ""), value)
    console = Console()
    console.print(view)
    console.print(f"as a file: {folder / 'sweep.csv'}")
    return int(any(row["status"] not in directory.DONE for row in table))
