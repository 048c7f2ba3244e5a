"""What is told of run directories: by rows and counts, by a recorded result."""

import json

import pytest

from llmtrain.errors import RunError
from llmtrain.run import directory, findings, listing

LEAK = {"data/eval": 10, "data/leaked": 9}


def write(run, counts, steps=(1, 2)):
    (run / "metrics.jsonl").write_text("".join(f'{{"step": {n}, "eval/loss": 1.0}}\n' for n in steps))
    (run / "counts.json").write_text(json.dumps(counts))
    return run


def test_a_report_takes_a_pipeline_with_its_stages_and_counts(make_run):
    stage = write(make_run("sft", "20260101-000000-000001", inside="pipeline"), LEAK)
    directory.create(stage.parent, {"command": "pipeline"}, argv=[])
    other = write(make_run("sft", "20260101-000000-000002"), {})
    sick, healthy, last = findings.report([stage.parent, other, stage])
    assert sick.startswith(f"{stage.resolve()}: leaking-prompts: 9 of 10")
    assert healthy == f"{other.resolve()}: nothing found" and last == "2 runs examined, 1 with findings"


def test_a_run_that_logged_nothing_has_no_report(make_run):
    with pytest.raises(RunError, match="nothing was logged"):
        findings.report([make_run("sft", "20260101-000000-000001")])


def test_a_run_that_failed_before_it_logged_says_why(make_run):
    run = make_run("sft", "20260101-000000-000001")
    directory.write_result(run, "failed", "no disk", 0, {})
    with pytest.raises(RunError, match="nothing was logged; it failed: no disk"):
        findings.report([run])
    healthy = write(make_run("sft", "20260101-000000-000002"), {})
    assert findings.report([run, healthy])[0].endswith("nothing was logged; it failed: no disk")


@pytest.mark.parametrize("text", ["", "[1]", '{"data/leaked": "many"}', "null"])
def test_counts_that_cannot_be_read_are_none(tmp_path, text):
    (tmp_path / "counts.json").write_text(text)
    assert findings.read_counts(tmp_path) == {}


def test_the_tree_of_runs_names_findings(make_run, tmp_path):
    """Recorded ones of a run that ended; what holds now of one that did not."""
    ended = make_run("sft", "20260101-000000-000001")
    directory.write_result(ended, "finished", "done", 2, {}, findings=[{"name": "no-eos"}, "rubbish"])
    write(make_run("sft", "20260101-000000-000002", status=None), LEAK)
    make_run("sft", "20260101-000000-000003")  # of a version without a doctor
    told = [entry.headline for entry in listing.forest(tmp_path / "runs")]
    assert told == ["doctor: no-eos", "doctor: leaking-prompts", "eval/loss 1.5"]
