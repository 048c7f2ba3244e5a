import errno
import json
import os
import resource

import pytest
from checkpoint_fakes import die, in_child, names

from llmtrain.errors import RunError
from llmtrain.run import metrics
from llmtrain.run.metrics import Metrics


def logged(path, steps, resume=None):
    opened = Metrics(path, resume)
    for step in steps:
        opened.log(step, {"train/loss": step / 10})
    opened.close()


def steps(path):
    return [row["step"] for row in metrics.read(path)]


def test_one_object_a_line_as_it_happens(tmp_path):
    file = tmp_path / "metrics.jsonl"
    opened = Metrics(file, None)
    opened.log(3, {"train/loss": 0.5, "ppo/kl": float("nan"), "eval/x": float("inf")})
    expected = {"step": 3, "train/loss": 0.5, "ppo/kl": None, "eval/x": None}
    assert json.loads(file.read_text()) == expected
    assert file.read_text().endswith("\n")
    opened.close()


def test_resume_drops_what_will_be_logged_again(tmp_path):
    """R1: the file of a resumed run equals that of an uninterrupted one."""
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    logged(whole, range(1, 9))
    logged(cut, range(1, 7))
    logged(cut, range(5, 9), resume=4)
    assert cut.read_bytes() == whole.read_bytes()
    assert names(tmp_path) == ["cut.jsonl", "whole.jsonl"]


@pytest.mark.parametrize("resume", [None, 0])
def test_without_a_checkpoint_it_begins_anew(tmp_path, resume):
    file = tmp_path / "metrics.jsonl"
    logged(file, [0, 1, 2])
    logged(file, [0, 1], resume=resume)
    assert steps(file) == [0, 1]


def test_half_lines_and_rubbish_go_at_resume(tmp_path):
    file = tmp_path / "metrics.jsonl"
    logged(file, [1, 2])
    with file.open("ab") as opened:
        opened.write(b'{"no": "step"}\n\xff\n[]\n{"step": 3, "train/lo')
    assert steps(file) == [1, 2]
    logged(file, [3], resume=2)
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [1, 2, 3]


def test_lines_outlive_a_kill(tmp_path):
    file = tmp_path / "metrics.jsonl"

    def work():
        opened = Metrics(file, None)
        opened.log(1, {"a": 1.0})
        opened.log(2, {"a": 2.0})
        die()

    assert in_child(work) == -9
    assert steps(file) == [1, 2]


def test_a_full_disk_costs_lines_not_the_run(tmp_path, caplog):
    """R7: no half line stays behind, and what fits again is written."""
    file = tmp_path / "metrics.jsonl"

    def work():
        opened = Metrics(file, None)
        opened.log(1, {"a": 1.0})
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40, limit[1]))
        opened.log(2, {"a": 2.0})
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        opened.log(3, {"a": 3.0})

    assert in_child(work) == 0
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [1, 3]


def test_a_write_error_is_a_warning(tmp_path, monkeypatch, caplog):
    opened = Metrics(tmp_path / "metrics.jsonl", None)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        opened.log(1, {"a": 1.0})
    opened.log(2, {"a": 1.0})
    opened.close()
    assert steps(tmp_path / "metrics.jsonl") == [2]
    assert "step 1 could not be logged" in caplog.text


def test_where_nothing_can_be_written(tmp_path):
    with pytest.raises(RunError, match="cannot be written"):
        Metrics(tmp_path / "missing" / "metrics.jsonl", None)


def test_read_of_nothing(tmp_path):
    assert metrics.read(tmp_path / "metrics.jsonl") == []
