"""Reading a run directory that nobody vouches for."""

import json

import pytest
import written

from llmtrain.errors import RunError
from llmtrain.report import collect
from llmtrain.report.collect import Share
from llmtrain.run.lock import hold


def test_shares_have_the_interval_of_the_result_or_of_the_counts(tmp_path):
    """8 of 10 is .49 to .94 by Wilson (Brown, Cai, DasGupta 2001 give the formula; computed by hand)."""
    rows = [{"step": 1, "eval/win_rate": 0.8, "eval/length": 0.5}]
    path = written.run(
        tmp_path / "r", rows=rows, metrics={"eval/a": 0.7}, intervals={"eval/a": {"n": 9, "interval": [0.4, 0.9]}}
    )
    (path / "counts.json").write_text('{"eval/win_rate": 10}')
    run = collect.read(path, "r")
    assert run.share("eval/a") == Share(0.7, 0.4, 0.9, 9)
    wins = run.share("eval/win_rate")
    assert wins and (round(wins.low or 0, 2), round(wins.high or 0, 2), wins.n) == (0.49, 0.94, 10)
    assert run.share("eval/length") == Share(0.5)
    assert run.share("eval/none") is None


@pytest.mark.parametrize(
    ("line", "note"),
    [
        ('{"step": 2, "train/loss": 0.5', "1 damaged"),
        ('"step"', "1 damaged"),
        ('{"step": -1}', "1 damaged"),
        ('{"step": 1' + "0" * 400 + "}", "1 damaged"),
        ('{"step": 2, "x": 1' + "0" * 400 + "}", "1 damaged"),
        ("[" * 100_000, "1 damaged"),
        ("\x00\x01\ufffd", "1 damaged"),
    ],
)
def test_damaged_lines_are_counted_and_left_out(line, note, tmp_path):
    path = written.run(tmp_path / "r", rows=[])
    (path / "metrics.jsonl").write_text(
        f'{{"step": 1, "train/loss": 1.0}}\n{line}\n{{"step": 3, "train/loss": 0.25}}\n'
    )
    run = collect.read(path, "r")
    assert run.record.all("train/loss").values == (1.0, 0.25)
    assert note in run.notes[0]


def test_a_line_that_is_being_written_is_no_damage(tmp_path):
    path = written.run(tmp_path / "r", rows=[{"step": 1, "train/loss": 1.0}], status=None)
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "tra')
    assert collect.read(path, "r").notes == []


def test_how_runs_stand(tmp_path):
    """A run that works again is running, whatever its earlier life ended with."""
    path = written.run(tmp_path / "r")
    assert collect.read(path, "r").state == "finished"
    with hold(path):
        again = collect.read(path, "r")
        assert (again.state, again.result, again.step) == ("running", {}, 12)
    assert collect.read(written.run(tmp_path / "d", status=None), "d").state == "died"


@pytest.mark.parametrize("name", ["result.json", "lineage.json", "counts.json", "metrics.jsonl"])
@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '{"findings": 3, "metrics": [], "status": "finished"}'])
def test_whatever_a_file_holds_there_is_a_run(name, text, tmp_path):
    path = written.run(tmp_path / "r")
    (path / name).write_text(text)
    run = collect.read(path, "r")
    assert run.command == "ppo" and isinstance(run.step, int)


def test_missing_files_are_no_fault(tmp_path):
    path = written.run(tmp_path / "r")
    for name in ("lineage.json", "metrics.jsonl", "result.json"):
        (path / name).unlink()
    run = collect.read(path, "r")
    assert (run.state, run.step, run.notes) == ("died", 0, [])


def test_a_folder_without_configuration_is_no_run(tmp_path):
    with pytest.raises(RunError, match="not a run directory"):
        collect.read(tmp_path, "r")


def test_findings_of_a_result_and_of_a_run_that_goes_on(tmp_path):
    told = {"name": "no-eos", "severe": True, "steps": [1, 3], "says": "few end", "numbers": {}, "try": "more"}
    found = collect.read(written.run(tmp_path / "a", findings=[told, 7]), "a").found
    assert (found[0].name, found[0].steps, found[0].advice) == ("no-eos", "steps 1 to 3", "more")
    rows = [{"step": n, "ppo/ended": 0.1} for n in range(1, 6)]
    path = written.run(tmp_path / "b", rows=rows, status=None)
    (path / "counts.json").write_text(json.dumps({"ppo/ended": 100}))
    assert [f.name for f in collect.read(path, "b").found] == ["no-eos"]


def test_a_pipeline_has_its_stages_oldest_first(tmp_path):
    run = collect.read(written.pipeline(tmp_path), "p")
    assert {stage.label for stage in run.stages} == {"sft", "reward", "ppo", "eval-sft", "eval-ppo"}
    assert list(run.hhh) == ["sft", "ppo"] and run.hhh["sft"]["honest"] == Share(0.5, 0.35, 0.65, 40)


def test_a_stage_that_cannot_be_read_is_a_note(tmp_path):
    path = written.pipeline(tmp_path)
    (path / "sft" / "config.yaml").write_text("]")
    run = collect.read(path, "p")
    assert "sft" not in {stage.label for stage in run.stages} and "cannot be read" in run.notes[0]
