import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llmtrain.errors import ConfigError
from llmtrain.run import trackers
from llmtrain.run.metrics import Metrics, read


class Recorder:
    def __init__(self, run, resume_step, heard):
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


def test_one_that_fails_when_it_is_closed_ends_nothing(tmp_path, monkeypatch, caplog):
    class Unclosable(Recorder):
        def close(self):
            raise TimeoutError("still sending")

    made = []
    monkeypatch.setitem(trackers.TRACKERS, "stuck", Unclosable)
    monkeypatch.setitem(trackers.TRACKERS, "recorder", lambda *given: made.append(Recorder(*given)) or made[-1])
    opened = Metrics(tmp_path / "metrics.jsonl", None, trackers=("stuck", "recorder"))
    opened.log(1, {"a": 1.0})
    opened.close()
    assert made[0].closed
    assert "Unclosable failed" in caplog.text


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_one_that_is_not_installed_names_its_extra(tmp_path, monkeypatch, name):
    for module in ("tensorboard", "torch.utils.tensorboard", "wandb", "trackio"):
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


class Service:
    """What W&B and trackio have in common: runs by a name, goes on with one that is there, takes nothing back."""

    def __init__(self):
        self.asked, self.rows, self.finished = [], {}, 0

    def init(self, project, **asked):
        name = asked.get("id") or asked["name"]
        self.asked.append((project, name, asked["resume"]))
        self.current = self.rows.setdefault(name, [])
        return self

    def log(self, values, step):
        self.current.append((step, values))

    def finish(self):
        self.finished += 1


def killed_and_resumed(metrics) -> None:
    """Six steps, evaluated at the fourth; killed at the fourth before its evaluation, resumed at the second."""
    first = metrics(None)
    for step in (1, 2, 3, 4):
        first.log(step, {"train/loss": 1 / step})
    first.close()
    again = metrics(2)
    for step in (3, 4, 5, 6):
        again.log(step, {"train/loss": 1 / step})
        if step == 4:
            again.log(step, {"eval/loss": 0.5})
    again.close()


WHOLE = [(step, {"train/loss": 1 / step}) for step in (1, 2, 3, 4)]
WHOLE += [(4, {"eval/loss": 0.5}), (5, {"train/loss": 1 / 5}), (6, {"train/loss": 1 / 6})]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_resumed_run_goes_on_in_the_same_place_and_tells_nothing_twice(tmp_path, monkeypatch, name):
    service = Service()
    monkeypatch.setitem(sys.modules, name, service)
    file = tmp_path / "sft/demo/20260101-000000-000001/metrics.jsonl"
    file.parent.mkdir(parents=True)
    killed_and_resumed(lambda step: Metrics(file, step, trackers=(name,)))
    assert service.asked == [("llmtrain", "sft-demo-20260101-000000-000001", "allow")] * 2
    assert service.rows == {"sft-demo-20260101-000000-000001": WHOLE}
    assert service.finished == 2


def test_a_run_that_begins_anew_tells_nothing_twice(tmp_path, monkeypatch):
    """Killed before its first checkpoint."""
    service = Service()
    monkeypatch.setitem(sys.modules, "wandb", service)
    for steps in ((1, 2), (1, 2, 3)):
        opened = Metrics(tmp_path / "metrics.jsonl", 0, trackers=("wandb",))
        for step in steps:
            opened.log(step, {"a": 1.0})
        opened.close()
    assert [step for step, _ in next(iter(service.rows.values()))] == [1, 2, 3]


REAL = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_trackers import killed_and_resumed
from llmtrain.run.metrics import Metrics
file = Path(sys.argv[1]) / "metrics.jsonl"
killed_and_resumed(lambda step: Metrics(file, step, trackers=("trackio",)))
print("nothing but ours on standard output")
from trackio.sqlite_storage import SQLiteStorage
(run,) = SQLiteStorage.get_run_records("llmtrain")
rows = SQLiteStorage.get_logs("llmtrain", run["name"])
print(json.dumps([[row.pop("step"), {k: v for k, v in row.items() if k != "timestamp"}] for row in rows]))
"""


def test_the_real_trackio(tmp_path):
    """Offline, in a folder of its own, which the module reads when it is loaded: so in a process of its own."""
    pytest.importorskip("trackio", reason="an extra")
    env = os.environ | {"TRACKIO_DIR": str(tmp_path / "trackio"), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", REAL, str(tmp_path), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 0, done.stderr
    said, rows = done.stdout.splitlines()
    assert said == "nothing but ours on standard output"
    assert [(step, values) for step, values in json.loads(rows)] == WHOLE
