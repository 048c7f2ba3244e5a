"""What follows when a run has ended, in whatever process."""

import json
from types import SimpleNamespace

import pytest
import tiny

from llmtrain.errors import TrainingError
from llmtrain.launch import processes
from llmtrain.run import directory


def executed(path, monkeypatch, status="finished"):
    """Run a stage that computes nothing; whether there is a page then."""

    def run(config, path):
        directory.write_result(path, status, "why", 3, {})
        if status == "failed":
            raise TrainingError("the loss is not finite")
        return {"status": status}

    monkeypatch.setattr(processes, "stage", lambda command: SimpleNamespace(run=run))
    try:
        processes.execute(path)
    except TrainingError:
        assert status == "failed"
    return (path / "report.html").is_file()


@pytest.mark.parametrize("status", ["finished", "failed"])
def test_a_run_that_ended_gets_its_page(status, runs, monkeypatch):
    path = tiny.created("sft", runs, init="org/model", log={"report": True})
    assert executed(path, monkeypatch, status)
    assert f">{status}<" in (path / "report.html").read_text()


def test_no_page_where_none_is_wanted_nor_by_another_process_nor_for_a_stage(runs, monkeypatch):
    off = tiny.created("sft", runs, init="org/model")
    assert not executed(off, monkeypatch)
    path = tiny.created("sft", runs, init="org/model", log={"report": True})
    (path.parent / "config.yaml").write_text(json.dumps({"command": "pipeline"}))
    assert not executed(path, monkeypatch)
    (path.parent / "config.yaml").unlink()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert not executed(path, monkeypatch)
