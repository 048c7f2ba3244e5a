"""The program as it is called: help, exit codes, messages, completion. Each call is a process of its own."""

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmtrain import cli
from llmtrain.config.schema import COMMANDS
from llmtrain.errors import InitError
from llmtrain.run.listing import farewell

ROOT = Path(__file__).resolve().parents[1]
# `llmtrain ARGS` with a stage that does what $ACT says instead of training.
PROGRAM = """
import os, signal, sys, time
from llmtrain.launch import processes
from llmtrain.errors import DataError, Interrupted, LockedError, TrainingError

def execute(path):
    act = os.environ["ACT"]
    if act == "interrupt":
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
    raise {"data": DataError, "training": TrainingError, "locked": LockedError, "bug": KeyError}[act]("the reason") \\
        if act in ("data", "training", "locked", "bug") else Interrupted(15)

if os.environ.get("ACT"):
    processes.execute = execute
sys.argv[0] = "llmtrain"
from llmtrain.cli import main
main()
"""


def llmtrain(*args: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    code = (
        PROGRAM
        if "ACT" in environment
        else "import sys; sys.argv[0] = 'llmtrain'; from llmtrain.cli import main; main()"
    )
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("LLMTRAIN", "HYDRA"))}
    env = inherited | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run([sys.executable, "-c", code, *args], cwd=cwd, env=env, capture_output=True, text=True)


def test_the_table_of_commands_is_the_schemas():
    assert set(cli.COMMANDS) == set(COMMANDS)


def test_help_lists_every_command(tmp_path):
    shown = llmtrain("--help", cwd=tmp_path)
    assert shown.returncode == 0
    for command in (*COMMANDS, "resume", "runs", "samples", "doctor"):
        assert re.search(rf"^  {command} ", shown.stdout, re.MULTILINE)


@pytest.mark.parametrize("args", [["--help"], ["ppo", "--help"], ["pretrain", "seed=1", "-h"], ["resume", "--help"]])
def test_help_is_quick_and_imports_nothing_heavy(tmp_path, args):
    code = (
        "import atexit, sys\n"
        "heavy = 'torch', 'hydra', 'omegaconf', 'transformers', 'numpy', 'yaml'\n"
        "atexit.register(lambda: print('HEAVY', [m for m in heavy if m in sys.modules]))\n"
        f"sys.argv = ['llmtrain', *{args!r}]\n"
        "from llmtrain.cli import main\nmain()"
    )
    seconds = []
    for _ in range(3):  # processor time, so that a busy machine does not fail the test
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        shown = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert shown.returncode == 0
    assert "HEAVY []" in shown.stdout
    assert min(seconds) < 0.4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("args", [["--version"], ["sft", "--version"]])
def test_version(args):
    shown = CliRunner().invoke(cli.app, args)
    assert shown.exit_code == 0
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", shown.stdout)


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["nope"], 2, "No such command"),
        (["sft", "optimizer.lrr=1"], 2, "did you mean optimizer.lr?"),
        (["sft", "--nope"], 2, "no such flag"),
        (["sft", "conf=nope.yaml"], 2, "no such file"),
        (["resume"], 2, "RUN"),
        (["resume", "nowhere"], 2, "nowhere does not exist; llmtrain runs lists the runs"),
        (["runs", "nowhere"], 2, "nowhere: no such folder"),
        (["runs", "--watch"], 2, "--watch draws on a terminal, and the output is none"),
        (["runs", "--every", "2"], 2, "--every does nothing without --watch"),
        (["samples", "nowhere"], 2, "nowhere does not exist; llmtrain runs lists the runs"),
    ],
)
def test_a_wrong_command_line_is_one_message(tmp_path, args, code, message):
    shown = llmtrain(*args, cwd=tmp_path)
    assert shown.returncode == code
    assert message in shown.stderr
    assert "Traceback" not in shown.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("act", "code"), [("data", 2), ("training", 1), ("locked", 73), ("bug", 1), ("signal", 143), ("interrupt", 130)]
)
def test_exit_codes_of_a_run_and_of_resume(tmp_path, act, code):
    shown = llmtrain("pretrain", cwd=tmp_path, ACT=act)
    assert shown.returncode == code
    assert "Traceback" not in shown.stderr
    (path,) = tmp_path.glob("runs/pretrain/tiny/*")
    if act not in ("signal", "interrupt"):
        assert "the reason" in shown.stderr
        assert "the reason" in (path / "train.log").read_text()
    if act in ("locked", "signal"):
        again = llmtrain("resume", str(path), cwd=tmp_path, ACT=act)
        assert again.returncode == code
        assert "Traceback" not in again.stderr


@pytest.mark.parametrize("args", [["sft", "seed=canary-1234567890"], ["resume", "canary-1234567890"]])
def test_messages_hold_no_secret(tmp_path, args):
    shown = llmtrain(*args, cwd=tmp_path, HF_TOKEN="canary-1234567890")
    assert shown.returncode in (1, 2)
    assert "canary" not in shown.stdout + shown.stderr


def test_runs_says_what_to_try_where_there_are_none(tmp_path):
    for args in ([], [str(tmp_path)]):
        shown = llmtrain("runs", *args, cwd=tmp_path)
        assert shown.returncode == 0
        assert "yet; try: llmtrain pipeline" in shown.stdout


def recorded(path: Path, status: str, reason: str = "all 3 steps done") -> Path:
    """A run that ended so."""
    path.mkdir(parents=True)
    (path / "config.yaml").write_text("command: sft\n")
    (path / "result.json").write_text(json.dumps({"status": status, "reason": reason, "step": 3, "metrics": {}}))
    return path


@pytest.mark.parametrize("place", [".", "0-a/config.yaml"])
def test_resume_names_the_runs_near_a_path_that_is_none(tmp_path, place):
    for job in ("0-a", "1-b"):
        recorded(tmp_path / job, "interrupted")
    shown = CliRunner().invoke(cli.app, ["resume", str(tmp_path / place)])
    assert isinstance(shown.exception, InitError)
    assert shown.exception.exit_code == 2
    assert f"name one of its runs: {tmp_path / '0-a'}" in str(shown.exception)


def test_resume_of_a_finished_run_says_how_to_train_on_and_touches_nothing(tmp_path):
    run = recorded(tmp_path / "run", "finished")
    before = {file: file.stat().st_mtime_ns for file in run.iterdir()}
    shown = CliRunner().invoke(cli.app, ["resume", str(run)])
    assert shown.exit_code == 0
    assert "finished at step 3: all 3 steps done" in shown.stdout
    assert f"llmtrain sft conf={run}/config.yaml init={run}" in shown.stdout
    assert {file: file.stat().st_mtime_ns for file in run.iterdir()} == before


def test_a_run_whose_time_was_used_up_goes_on(tmp_path):
    assert farewell(recorded(tmp_path / "a", "stopped", "max_time of 5 s used up")) is None
    assert farewell(recorded(tmp_path / "b", "interrupted")) is None
    assert "stopped" in str(farewell(recorded(tmp_path / "c", "stopped", "target reached")))


@pytest.mark.parametrize(
    ("shell", "environment", "offered"),
    [
        ("bash", {"COMP_WORDS": "llmtrain sft conf = ti", "COMP_CWORD": "4"}, ["tiny"]),
        ("bash", {"COMP_WORDS": "llmtrain ppo kl.name =", "COMP_CWORD": "3"}, ["fixed", "adaptive"]),
        ("bash", {"COMP_WORDS": "llmtrain resu", "COMP_CWORD": "1"}, ["resume"]),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "llmtrain sft conf=ti"}, ["_arguments '*: :((\"conf=tiny\"))'"]),
    ],
)
def test_completion(tmp_path, shell, environment, offered):
    shown = llmtrain(cwd=tmp_path, _LLMTRAIN_COMPLETE=f"complete_{shell}", **environment)
    assert shown.stdout.split("\n")[:-1] == offered


def test_the_completion_script_installs(tmp_path):
    (tmp_path / ".bashrc").write_text("")
    shown = llmtrain("--install-completion", "bash", cwd=tmp_path, HOME=str(tmp_path))
    assert shown.returncode == 0, shown.stderr
    assert "_LLMTRAIN_COMPLETE" in "".join(p.read_text() for p in tmp_path.rglob("*") if p.is_file())
