"""A sweep: its jobs, before any runs; and its end, one table of them, best first, printed and written as sweep.csv."""

import csv
import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmtrain.errors import ConfigError
from llmtrain.run import directory

LIMIT = 64  # jobs that are checked before a sweep; of a larger one, every value in at least one job


def parsed(settings: list[str], multirun: bool) -> list[Override]:
    """Settings as Hydra reads them. Raises ConfigError with all that it cannot read, and sweeps without -m."""
    loader = GlobalHydra.instance().config_loader() if GlobalHydra.instance().is_initialized() else None
    parser = OverridesParser.create(config_loader=loader)
    found, faults = [], []
    for setting in settings:
        key, _, value = setting.partition("=")
        key = "data" if key == "data.path" else key.lstrip("+")
        try:
            found += parser.parse_overrides([setting])
        except HydraException as error:
            reason = str(error).splitlines()[0]
            faults.append(f"{key}: {value!r} cannot be read ({reason}); put text in quotes twice: '{key}=\"TEXT\"'")
            continue
        several = found[-1].is_sweep_override()
        if several and not multirun:
            together = value.replace("],[", ",") if key == "data" else f"[{value}]"
            faults.append(
                f"{key}: several values; add -m to run each, or write {key}={together} to give them as a list"
            )
        if several and key == "run.root":
            faults.append("run.root: cannot be swept, all jobs of a sweep lie in one folder; sweep run.name")
        if key.startswith(("hydra.", "hydra/")) and not multirun:
            faults.append(f"{key}: does nothing without -m")
    if faults:
        raise ConfigError("\n".join(faults))
    return found


def jobs(command: str, settings: list[str]) -> Iterator[tuple[str, list[str]]]:
    """What sets a job apart, and all its settings; those that only another sweeper can choose are left out.

    Raises ConfigError. Called where Hydra is initialized.
    """
    given = parsed(settings, multirun=True)
    params: list[Override] = []
    try:
        plain = [str(o.input_line) for o in given if not o.is_sweep_override()]
        sweeper = compose(command, plain, return_hydra_config=True).hydra.sweeper
        params = parsed([f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()], multirun=True)
    except HydraException:  # its fault is every job's, and told there
        pass
    lists = {o.get_key_element(): _values(o) for o in (*params, *given)}
    values = [v for v in lists.values() if v]
    swept = [number for number, v in enumerate(values) if len(v) > 1]
    combined: Iterator[tuple[str, ...]] = itertools.product(*values)
    if math.prod(map(len, values)) > LIMIT:
        side_by_side = zip(*map(itertools.cycle, values), strict=False)
        combined = itertools.islice(side_by_side, min(LIMIT, max(map(len, values))))
    for job in combined:
        yield " ".join(job[number] for number in swept), list(job)


def _values(override: Override) -> list[str]:
    """Each value of a sweep as a setting of its own."""
    key = override.get_key_element()
    if key.startswith("hydra"):
        return []
    if override.is_discrete_sweep():
        return [f"{key}={value}" for value in itertools.islice(override.sweep_string_iterator(), LIMIT + 1)]
    return [] if override.is_sweep_override() else [str(override.input_line)]


def rows(folder: Path) -> list[dict[str, Any]]:
    """The jobs under `folder` with their final metrics, best headline metric first, those without one last."""
    found = [_row(path) for path in folder.iterdir() if path.is_dir() and directory.JOB.fullmatch(path.name)]
    lower = any(row["headline"].endswith(directory.LOWER_IS_BETTER) for row in found)

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
    view = Table(title=Text(f"sweep {folder}"), title_justify="left")
    for column in ("job", "overrides", "status", "step", table[0]["headline"] or "value"):
        view.add_column(column, overflow="fold")
    for row in table:
        value = "" if row["value"] is None else f"{row['value']:.5g}"
        view.add_row(str(row["job"]), Text(row["overrides"]), row["status"], str(row["step"] or ""), value)
    console = Console()
    console.print(view)
    console.print(Text(f"as a file: {folder / 'sweep.csv'}   as a page: llmtrain report {folder}"))
    return int(any(row["status"] not in directory.DONE for row in table))
