"""The end of a sweep: one table of its jobs, best first, printed and written as sweep.csv."""

import csv
import sys
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from llmtrain.run import directory

LOWER_IS_BETTER = ("loss", "perplexity", "bits_per_byte")


def rows(folder: Path) -> list[dict[str, Any]]:
    """The jobs under `folder`, best headline metric first, those without one last."""
    found = []
    for path in sorted(p for p in folder.iterdir() if (p / ".hydra").is_dir()):
        overrides = yaml.safe_load((path / ".hydra" / "overrides.yaml").read_text(encoding="utf-8"))
        record = directory.read_result(path) or {}
        found.append(
            {
                "job": path.name.partition("-")[0],
                "overrides": " ".join(overrides),
                "status": record.get("status", "died"),
                "metric": record.get("headline", ""),
                "value": record.get("value"),
                "step": record.get("step", ""),
                "run": str(path),
            }
        )
    lower = any(row["metric"].endswith(LOWER_IS_BETTER) for row in found)
    return sorted(found, key=lambda r: (r["value"] is None, (r["value"] or 0.0) * (1 if lower else -1)))


def report(command: str) -> int:
    """Write and print the table of the sweep that just ran in this process; the exit code: 1 when a job failed."""
    folder = newest(command)
    table = rows(folder) if folder else []
    if folder is None or not table:
        return 1
    with (folder / "sweep.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    view = Table(title=f"sweep {folder}", title_justify="left")
    for column in ("job", "overrides", "status", table[0]["metric"] or "value", "step"):
        view.add_column(column, overflow="fold")
    for row in table:
        value = "" if row["value"] is None else f"{row['value']:.5g}"
        view.add_row(row["job"], row["overrides"], row["status"], value, str(row["step"]))
    console = Console()
    console.print(view)
    console.print(f"as a file: {folder / 'sweep.csv'}")
    return int(any(row["status"] not in directory.DONE for row in table))


def newest(command: str) -> Path | None:
    """The sweep directory that this invocation made: the resolver's cached run id names it."""
    from omegaconf import OmegaConf

    root = next((a.partition("=")[2] for a in sys.argv if a.startswith("run.root=")), "runs")
    run_id = OmegaConf.create({"id": "${run_id:}"}).id
    folders = [Path(root) / command / "sweep" / run_id]
    return next((folder for folder in folders if folder.is_dir()), None)
