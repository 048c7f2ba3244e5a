"""The live view, rendered for terminals of several sizes; and the program itself on a terminal of its own."""

import io
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console, Group

from llmtrain.errors import ConfigError, InitError
from llmtrain.run import lock
from llmtrain.run.frame import Shot, frame, short, span
from llmtrain.run.watch import Watcher, watch

ROOT = Path(__file__).resolve().parents[2]
PPO = {"ppo/score": 0.25, "ppo/kl": 1.5, "gold/min": 0.75, "ppo/length": 19.0, "time/step_seconds": 2.0}


def log(run, rows: int, first: int = 1, **values: float) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        for step in range(first, first + rows):
            file.write(json.dumps({"step": step, **{name: value * step for name, value in values.items()}}) + "\n")


def configured(run, text: str) -> None:
    (run / "config.yaml").write_text(text)


def shown(root, watcher: Watcher, width: int = 80, height: int = 24) -> list[str]:
    return rendered(root, watcher.look(), width, height)


def rendered(root, shot: Shot, width: int, height: int) -> list[str]:
    """What a terminal of that size shows. Every frame must fit it."""
    console = Console(record=True, width=width, height=height, file=io.StringIO())
    lines = frame(root, shot, width, height, "12:34:56")
    console.print(Group(*lines))
    text = console.export_text().splitlines()
    assert len(lines) == len(text) == height
    assert max(map(cell_len, text)) <= width
    return text


def line(text: list[str], word: str) -> str:
    (found,) = [row for row in text if word in row]
    return found


@pytest.fixture
def going(make_run):
    """going("ppo", "20260101-000000-000001") -> a run whose lock is held until the test ends."""
    with ExitStack() as held:

        def make(command: str, run_id: str, **options):
            run = make_run(command, run_id, status=None, **options)
            held.enter_context(lock.hold(run))
            return run

        yield make


@pytest.fixture
def root(tmp_path):
    return tmp_path / "runs"


def now(root) -> Watcher:
    """One that reads the tree at every look."""
    watcher = Watcher(root)
    watcher.pause = 0.0
    return watcher


def test_a_running_run_has_curves_and_time_left(going, make_run, root):
    make_run("sft", "20260101-000000-000001")
    run = going("ppo", "20260102-000000-000001")
    configured(run, "command: ppo\nmax_steps: 45\n")
    log(run, 15, **(PPO | {"time/step_seconds": 0.0}))
    log(run, 1, 15, **{"time/step_seconds": 4.0})  # 15 * 4 s over 16 rows, 30 steps to go: 112.5 s
    text = shown(root, now(root))
    assert "1 finished" in text[0] and "1 running" in text[0] and "12:34:56" in text[0]
    assert "● ppo/demo/20260102-000000-000001  step 15/45  2 min left" in line(text, "●")
    for name, value in (("ppo/score", "3.75"), ("ppo/kl", "22.5"), ("gold/min", "11.2"), ("ppo/length", "285")):
        assert line(text, name).split()[1] == value
    assert "finished" in line(text, "sft/demo")
    assert "Ctrl-C ends" in text[-1]


def test_every_size_fits(going, make_run, root):
    for n in range(5):
        make_run("sft", f"20260101-000000-{n:06d}", name="名前" * 20, steps=())
    for n in range(5):
        log(going("ppo", f"20260102-000000-{n:06d}", steps=()), 30, **PPO)
    shot = now(root).look()
    for width, height in ((80, 24), (160, 50), (40, 12), (20, 5), (200, 10), (80, 6), (10, 2)):
        for number in (0, 1, 3, 5):
            rendered(root, Shot(shot.tops, shot.going[:number]), width, height)


def test_curves_grow_with_the_terminal(going, root):
    log(going("ppo", "20260102-000000-000001"), 30, **PPO)
    small, large = shown(root, now(root)), shown(root, now(root), 160, 50)
    drawn = [sum(any("\u2800" < c <= "\u28ff" for c in row) for row in text) for text in (small, large)]
    assert drawn[1] > drawn[0] >= 8
    assert "ppo/kl" in line(large, "ppo/score")  # two in a row


def test_what_is_in_progress_and_new_is_kept(going, make_run, root):
    """Of twelve runs the running one and what it hangs under; then the newest."""
    for n in range(10):
        made = make_run("sft", f"20260101-000000-{n:06d}", steps=()) / "lineage.json"
        made.write_text(json.dumps(json.loads(made.read_text()) | {"created": 1000 + n}))
    old = going("sft", "20260101-000000-000100", inside="pipeline")
    configured(old.parent, "command: pipeline\n")
    text = "\n".join(shown(root, now(root), 80, 14))
    assert "pipeline/demo/20260101-000000-000100" in text and "└ sft" in text
    assert "000000-000009" in text and "000000-000000" not in text
    assert "more; llmtrain runs lists all" in text


def test_a_pipeline_has_no_curves_beside_its_stage(going, root):
    stage = going("sft", "20260101-000000-000001", inside="pipeline")
    configured(stage.parent, "command: pipeline\n")
    with lock.hold(stage.parent):
        text = shown(root, now(root))
    assert line(text, "●").split()[1].endswith("/sft")
    assert "nothing logged yet" in line(text, "●")


def test_the_doctor_speaks(going, root):
    """KL of 9.6, then 60 nats: the numbers of an exploding run."""
    run = going("ppo", "20260101-000000-000001")
    with (run / "metrics.jsonl").open("w") as file:
        for step in range(1, 13):
            kl = 0.5 if step < 6 else 60.0
            file.write(json.dumps({"step": step, "ppo/kl": kl, "ppo/score": 1.0}) + "\n")
        file.write('{"step": 12, "eval/score": 1.0}\n')
    assert "doctor: kl-exploding: " in "\n".join(shown(root, now(root), 160, 50))


def test_runs_appear_die_and_disappear(make_run, root):
    watcher = now(root)
    assert "no runs in" in "\n".join(shown(root, watcher))
    run = make_run("sft", "20260101-000000-000001", status=None)
    with lock.hold(run):
        assert "running" in line(shown(root, watcher), "sft/demo/20260101-000000-000001  running")
        log(run, 3, **{"train/loss": 1.0})
        assert "step 3" in line(shown(root, watcher), "●")
    assert "died" in line(shown(root, watcher), "sft/demo")
    shutil.rmtree(run)
    assert "no runs in" in "\n".join(shown(root, watcher))


def test_the_tree_is_read_less_often_than_the_running_runs(going, make_run, root):
    run = going("sft", "20260101-000000-000001")
    watcher = Watcher(root)
    watcher.pause = 1000.0  # as if reading the tree had taken long
    watcher.look()
    make_run("sft", "20260102-000000-000001")
    log(run, 5, **{"train/loss": 1.0})
    shot = watcher.look()
    assert [entry.path for entry in shot.tops] == [run]
    assert shot.tops[0].step == "5"


def test_names_bring_no_escapes(going, root):
    log(going("sft", "20260101-000000-000001", name="a\x1b[2Jb\u202ec[bold]"), 3, **{"train/loss": 1.0})
    text = "\n".join(shown(root, now(root), 120, 30))
    assert "\x1b" not in text and "\u202e" not in text and "[bold]" in text


def test_it_needs_a_terminal_a_folder_and_a_sound_pause(tmp_path):
    pipe, terminal = Console(file=io.StringIO()), Console(file=io.StringIO(), force_terminal=True)
    with pytest.raises(ConfigError, match="--watch draws on a terminal"):
        watch(tmp_path, 1.0, pipe, must_exist=True)
    with pytest.raises(InitError, match="nowhere: no such folder"):
        watch(tmp_path / "nowhere", 1.0, terminal, must_exist=True)
    for every in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="--every=.*takes seconds from"):
            watch(tmp_path, every, terminal, must_exist=True)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_the_program_on_a_terminal_gives_it_back(going, root, sent, code):
    log(going("sft", "20260101-000000-000001"), 30, **{"train/loss": 1.0})
    ours, theirs = pty.openpty()
    env = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    command = [sys.executable, "-m", "llmtrain", "runs", str(root), "--watch", "--every", "0.2"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as program:
        os.close(theirs)
        try:
            seen = read_until(ours, b"step 30")
            program.send_signal(sent)
            seen += read_until(ours, b"\x1b[?1049l")
            assert program.wait(20) == code
        finally:
            program.kill()  # or a failure would wait for it forever
    os.close(ours)
    assert b"Traceback" not in seen
    assert seen.count(b"\x1b[?1049h") == seen.count(b"\x1b[?1049l") == 1  # the other screen, and back
    assert b"\x1b[?25h" in seen  # the cursor


def read_until(terminal: int, word: bytes) -> bytes:
    seen, end = b"", time.monotonic() + 30
    while word not in seen and time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 65536)
    assert word in seen
    return seen


@pytest.mark.parametrize(
    ("value", "text"), [(0.12345, "0.123"), (12345.6, "12,346"), (-1.5, "-1.5"), (1e9, "1e+09"), (0.0, "0")]
)
def test_numbers_are_short(value, text):
    assert short(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (100, "2 min"), (3600, "1 h 0 min"), (12000, "3 h 20 min")])
def test_spans_of_time(seconds, text):
    assert span(seconds) == text
