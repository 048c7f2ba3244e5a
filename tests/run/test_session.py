"""What a session records when it ends early, and what it lets go when it cannot begin."""

import os
import signal

import pytest
import torch
from checkpoint_fakes import save

from llmtrain.errors import CheckpointError, Interrupted, RunError
from llmtrain.launch.mesh import Mesh
from llmtrain.run import directory, lock
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
