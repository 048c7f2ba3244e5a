import shutil
import sys

import pytest

from llmtrain.errors import ConfigError
from llmtrain.run import trackers
from llmtrain.run.metrics import Metrics, read


class Recorder:
    def __init__(self, run, resume_step):
        self.rows, self.closed, self.resume_step = [], False, resume_step

    def log(self, step, values):
        self.rows.append((step, values))

    def close(self):
        self.closed = True


class Broken(Recorder):
    def log(self, step, values):
        raise ConnectionError("the service is away")


def test_trackers_hear_finite_values_and_the_resumed_step(tmp_path, monkeypatch):
    made = []
    monkeypatch.setitem(trackers.TRACKERS, "recorder", lambda *given: made.append(Recorder(*given)) or made[-1])
    opened = Metrics(tmp_path / "metrics.jsonl", 4, trackers=("recorder",))
    opened.log(5, {"a": 1.0, "b": float("nan")})
    opened.close()
    assert (made[0].rows, made[0].closed, made[0].resume_step) == ([(5, {"a": 1.0})], True, 4)


def test_a_broken_tracker_ends_nothing(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(trackers.TRACKERS, "broken", Broken)
    opened = Metrics(tmp_path / "metrics.jsonl", None, trackers=("broken",))
    opened.log(1, {"a": 1.0})
    opened.log(2, {"a": 1.0})
    opened.close()
    assert [row["step"] for row in read(tmp_path / "metrics.jsonl")] == [1, 2]
    assert caplog.text.count("Broken failed and is off") == 1


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_one_that_is_not_installed_names_its_extra(tmp_path, monkeypatch, name):
    for module in ("tensorboard", "torch.utils.tensorboard", "wandb"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"log.{name}=true: .* pip install 'llmtrain\[{name}\]'"):
        trackers.open_trackers((name,), tmp_path, 0)


def test_tensorboard_writes_events(tmp_path):
    pytest.importorskip("tensorboard", reason="an extra")
    (tracker,) = trackers.open_trackers(("tensorboard",), tmp_path, 0)
    tracker.log(1, {"train/loss": 0.5})
    tracker.close()
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"train/loss" in events.read_bytes()


def test_a_folder_that_goes_away_prints_no_traceback(tmp_path, capfd, caplog):
    pytest.importorskip("tensorboard", reason="an extra")
    opened = Metrics(tmp_path / "metrics.jsonl", None, trackers=("tensorboard",))
    opened.log(1, {"a": 1.0})
    shutil.rmtree(tmp_path)
    opened.log(2, {"a": 1.0})
    opened.log(3, {"a": 1.0})
    opened.close()
    assert "Traceback" not in capfd.readouterr().err + caplog.text
    assert caplog.text.count("TensorBoard failed") == 1
