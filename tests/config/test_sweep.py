"""The table at the end of a sweep."""

import csv
from pathlib import Path

import pytest

from llmtrain.config import sweep
from llmtrain.run import directory


def job(folder: Path, name: str, value: float | None, status: str = "finished", headline: str = "eval/loss") -> None:
    path = folder / name.replace("/", "-")
    directory.create(path, {"seed": 1}, argv=["llmtrain sft", f"lr={name}"])
    extra = {"headline": headline, "value": value}
    directory.write_result(path, status, "why", 5, {} if value is None else {headline: value}, **extra)


@pytest.mark.parametrize(("headline", "wanted"), [("eval/loss", [1, 2, 0, 3]), ("gold/min", [0, 2, 1, 3])])
def test_best_first_and_those_without_a_number_last(tmp_path, headline, wanted):
    for number, value in enumerate([0.9, 0.1, 0.5, None]):
        job(tmp_path, f"{number}-x", value, headline=headline)
    assert [row["job"] for row in sweep.rows(tmp_path)] == wanted


def test_the_file_holds_all_metrics(tmp_path):
    job(tmp_path, "0-a", 0.5)
    job(tmp_path, "10-b", 0.25, status="stopped")
    (tmp_path / ".submitit").mkdir()
    assert sweep.report(tmp_path) == 0
    rows = list(csv.DictReader((tmp_path / "sweep.csv").open()))
    assert [(r["job"], r["overrides"], r["status"], r["eval/loss"]) for r in rows] == [
        ("10", "lr=10-b", "stopped", "0.25"),
        ("0", "lr=0-a", "finished", "0.5"),
    ]


def test_overrides_with_brackets_are_shown_as_they_are(tmp_path, capsys):
    """rich would read [/a] as the end of a tag, and hide [a]."""
    job(tmp_path, "0-[/a]", 0.5)
    job(tmp_path, "1-[b]", 0.5)
    assert sweep.report(tmp_path) == 0
    told = capsys.readouterr().out
    assert "lr=0-[/a]" in told and "lr=1-[b]" in told


def test_a_job_that_failed_or_left_nothing_is_in_the_table_and_in_the_exit_code(tmp_path):
    job(tmp_path, "0-a", 0.5)
    job(tmp_path, "1-b", None, status="failed")
    (tmp_path / "2-seed-3").mkdir()
    assert sweep.report(tmp_path) == 1
    last = sweep.rows(tmp_path)[-1]
    assert (last["overrides"], last["status"]) == ("seed-3", "failed")


def test_no_sweep_no_table(tmp_path):
    assert sweep.report(tmp_path / "nothing") == 1
