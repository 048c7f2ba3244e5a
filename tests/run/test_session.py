"""What a session records when it ends early, and what it lets go when it cannot begin."""

import os
import signal

import pytest
import torch
from checkpoint_fakes import save

from llmtrain.errors import CheckpointError, Interrupted, RunError
from llmtrain.launch.mesh import Mesh
from llmtrain.run import directory, findings, lock
from llmtrain.run.checkpoints import Checkpoints
from llmtrain.run.session import Session, StopAsked

ONE = Mesh(0, 1, torch.device("cpu"), torch.float32)
DONE = {"eval/loss": 1.5}


def finished(path):
    with Session(path, "fake", ONE) as session:
        session.log(1, DONE)
        session.finish("finished", "all done", 1, DONE)
    return path


def test_a_refused_resume_leaves_the_result_of_a_finished_run(tmp_path):
    before = directory.read_result(finished(tmp_path))
    with pytest.raises(RunError, match="changed"), Session(tmp_path, "fake", ONE):
        raise RunError("the data changed")
    assert directory.read_result(tmp_path) == before


def test_a_finished_run_that_took_a_step_and_failed_says_so(tmp_path):
    finished(tmp_path)
    with pytest.raises(ValueError), Session(tmp_path, "fake", ONE) as session:
        session.log(2, {"train/loss": 2.0})
        raise ValueError("broken")
    assert directory.read_result(tmp_path)["status"] == "failed"


def test_a_run_that_fails_keeps_its_last_metrics(tmp_path):
    with pytest.raises(ValueError), Session(tmp_path, "fake", ONE) as session:
        session.log(1, {"train/loss": 3.0, "time/step_seconds": 1.0})
        session.log(2, {"train/loss": 2.0})
        session.log(2, DONE)
        raise ValueError("broken")
    record = directory.read_result(tmp_path)
    assert (record["status"], record["metrics"]) == ("failed", {"train/loss": 2.0, "eval/loss": 1.5})


def test_a_session_that_cannot_begin_lets_go_of_lock_and_signals(tmp_path):
    path = save(Checkpoints(tmp_path / "checkpoints", 1, 0), 1)
    os.truncate(path / "model.safetensors", 10)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(CheckpointError), Session(tmp_path, "fake", ONE):
        pass
    assert signal.getsignal(signal.SIGTERM) is before
    assert not lock.is_held(tmp_path)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_before_the_first_poll_a_signal_ends_at_once(tmp_path, number, code):
    with (
        pytest.raises(
            Interrupted, match=f"nothing was computed yet; start again with: llmtrain resume {tmp_path}"
        ) as e,
        Session(tmp_path, "fake", ONE),
    ):
        os.kill(os.getpid(), number)
        pytest.fail("it went on")
    assert e.value.exit_code == code
    assert directory.read_result(tmp_path)["status"] == "interrupted"
    assert not lock.is_held(tmp_path)


def test_from_the_first_poll_on_a_signal_waits_for_the_next(tmp_path):
    with Session(tmp_path, "fake", ONE) as session:
        session.poll()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StopAsked):
            session.poll()


def test_a_resumed_run_says_that_there_is_something(tmp_path):
    save(Checkpoints(tmp_path / "checkpoints", 1, 0), 7)
    with pytest.raises(Interrupted, match="stopped before step 8; go on with"), Session(tmp_path, "fake", ONE):
        os.kill(os.getpid(), signal.SIGTERM)


LEAK = {"data/eval": 10, "data/leaked": 9}


def test_a_finding_is_told_once_in_all_lives_of_a_run_and_at_its_end(tmp_path, caplog):
    caplog.set_level("INFO", "llmtrain")
    with pytest.raises(Interrupted), Session(tmp_path, "fake", ONE) as session:
        session.count(LEAK)
        session.log(1, DONE)
        save(session.checkpoints, 1)
        raise Interrupted(15)
    (found,) = directory.read_result(tmp_path)["findings"]
    assert found["name"] == "leaking-prompts"
    with Session(tmp_path, "fake", ONE) as session:
        session.count(LEAK)
        session.log(2, DONE)
        warned = [r for r in caplog.records if "doctor:" in r.getMessage()]
        result = session.finish("finished", "all done", 2, DONE)
    assert len(warned) == 1 and warned[0].levelname == "WARNING"
    assert result["findings"] == directory.read_result(tmp_path)["findings"] == [found]
    assert [r.levelname for r in caplog.records if "doctor: leaking-prompts" in r.getMessage()] == ["WARNING", "INFO"]


def test_a_run_that_begins_anew_forgets_what_was_counted(tmp_path):
    for counts in (LEAK, {"data/eval": 10}):
        with Session(tmp_path, "fake", ONE) as session:
            session.count(counts)
    assert findings.read_counts(tmp_path) == {"data/eval": 10}


def test_a_full_disk_costs_the_counts_not_the_run(tmp_path, monkeypatch, caplog):
    with Session(tmp_path, "fake", ONE) as session:
        monkeypatch.setattr("llmtrain.run.durable.write_text", raise_full)
        session.count(LEAK)
    assert "counts.json could not be written" in caplog.text


def raise_full(*_):
    raise OSError(28, "No space left on device")
