"""`llmtrain chat` from its command line: what it takes, what it refuses, and that it leaves no run behind."""

import io
import json
import sys

import pytest
import tiny
from typer.testing import CliRunner

from llmtrain import cli
from llmtrain.config import app
from llmtrain.config.words import spoken
from llmtrain.errors import ConfigError, DataError, InitError, UsageError
from llmtrain.stages import chat, preflight


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """No test waits for a network, and whatever is left behind lies in tmp_path."""
    monkeypatch.setattr(preflight, "know_the_network", lambda: None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)


def given(chain: tiny.Chain, *args: str) -> list[str]:
    return [*args, f"run.root={chain.root}", "run.name=t", "launch.device=cpu", "sampling.max_new_tokens=8"]


def ran(chain: tiny.Chain, *args: str) -> int:
    return app.main("chat", given(chain, *args), prog="llmtrain chat")


HARD = [
    "hello",
    "???",
    "${oc.env:HOME}",
    "a=b,c",
    "'\"\\",
    "-x",
    "_target_=os.system",
    "[1,2",
    "token=abcdefgh1234",
    "é 🙂",
]


@pytest.mark.parametrize("text", HARD)
def test_a_prompt_is_taken_as_it_is_and_nothing_is_left_behind(chain, text, capsys, tmp_path):
    before = sorted(chain.root.rglob("*"))
    assert ran(chain, str(chain.sft), "--prompt", text, "format=jsonl") == 0
    assert json.loads(capsys.readouterr().out)["prompt"] == text
    assert sorted(chain.root.rglob("*")) == before
    assert list(tmp_path.iterdir()) == []


def test_standard_input_is_a_prompt_a_line_or_one_prompt(chain, capsys, monkeypatch):
    for key, wanted in (((), ["a", "b"]), (("--prompt", "-"), ["a\nb"])):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\nb\n"), encoding="utf-8"))
        assert ran(chain, str(chain.pretrain), str(chain.sft), "judged_by=latest", "format=jsonl", *key) == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [row["prompt"] for row in rows] == wanted
        assert all("score" in answer for row in rows for answer in row["answers"].values())


def test_bytes_that_are_no_text_are_told_with_their_line(chain, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\n\xff\n"), encoding="utf-8"))
    with pytest.raises(DataError, match="standard input, line 2: .*not valid UTF-8"):
        ran(chain, str(chain.sft))


def test_the_same_command_line_gives_the_same_answer(chain, capsys):
    said = []
    for seed in ("seed=1", "seed=1", "seed=2"):
        ran(chain, str(chain.sft), "--prompt", "hello", "sampling.temperature=1", seed, "format=jsonl")
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != said[2]


def test_latest_is_the_newest_run_that_writes(chain, capsys):
    assert ran(chain, "--prompt", "hello", "format=jsonl") == 0
    assert list(json.loads(capsys.readouterr().out)["answers"]) == ["sft"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["{reward}"], "models[0]: {reward}/checkpoints/"),
        (["{reward}"], "is a reward model, which writes no answers; give it as judged_by="),
        (["{sft}", "judged_by={pretrain}"], "judged_by: {pretrain} is a run of `llmtrain pretrain`"),
        (["{sft}", "nowhere"], "models[1]: nowhere: no such run"),
        (["{sft}", "{sft}"], "is there twice; drop one"),
        (["{sft}", "{sft}/checkpoints/latest"], "is the model of models[0] again"),
        (["models=[]"], "models: name at least one"),
        (["{sft}", "--web", "--prompt", "x"], "prompt: does nothing with web=true"),
        (["{sft}", "--web", "format=jsonl"], "format: does nothing with web=true"),
        (["{sft}", "page.port=80"], "page.port: 80 does nothing without a page"),
        (["{sft}", "page.port=70000"], "page.port: 70000 must be between 0 and 65535"),
        (["{sft}", "sampling.temperature=-1"], "sampling.temperature: -1.0 must be at least 0"),
        (["{sft}", "sampling.temperature=0.001"], "sampling.temperature: 0.001 must be 0 (the likeliest token)"),
        (["{sft}", "system=' '"], "system: "),
        (["{sft}", "launch.nproc_per_node=2"], "launch.nproc_per_node: does nothing in a chat"),
        (["{sft}", "log.wandb=true"], "log.wandb: does nothing in a chat"),
        (["{sft}", "sampling.batch_rows=2"], "sampling.batch_rows: there is no such key"),
        (["{sft}", "-m", "seed=1,2"], "--multirun: does nothing for `chat`"),
        (["{sft}", "--prompt", "x", "--cfg", "job"], "does nothing for `chat`"),
        (["{sft}", "--prompt", "x", "prompt=y"], "prompt: given twice"),
        (["{sft}", "--promt", "x"], "--promt: no such flag"),
    ],
)
def test_what_is_refused_before_a_model_loads(chain, monkeypatch, args, said):
    monkeypatch.setattr(chat, "talk", lambda config: pytest.fail("it went on"))
    places = {"sft": chain.sft, "pretrain": chain.pretrain, "reward": chain.reward}
    with pytest.raises(UsageError) as caught:
        ran(chain, *(arg.format(**places) for arg in args))
    assert said.format(**places) in str(caught.value)


def test_a_run_without_a_checkpoint(chain, runs):
    empty = tiny.created("sft", runs, init=str(chain.pretrain))
    with pytest.raises((ConfigError, InitError), match="holds no checkpoint"):
        ran(chain, str(empty))


@pytest.mark.parametrize("text", ["", "  ", "a\0b"])
def test_a_prompt_that_is_none(chain, text):
    with pytest.raises(DataError, match="prompt: 'prompt' (is empty|holds a NUL)"):
        ran(chain, str(chain.sft), "--prompt", text)


def test_the_configuration_can_be_looked_at(chain, capfd):
    assert ran(chain, str(chain.sft), "--web", "--cfg", "job") == 0
    assert "web: true" in capfd.readouterr().out


def test_a_reader_who_has_enough_is_no_error(chain, monkeypatch):
    def enough(*_, **__):
        raise BrokenPipeError

    monkeypatch.setattr(chat.script, "answer_all", enough)
    monkeypatch.setattr(chat, "silenced", lambda: None)
    assert ran(chain, str(chain.sft), "--prompt", "x") == 0


def test_words_of_the_flags():
    assert spoken(["a", "--web", "--prompt=x=y"], "chat") == (["a", "web=true", "prompt=TEXT"], "x=y")
    assert spoken(["--prompt", "--web"], "chat") == (["prompt=TEXT"], "--web")
    assert spoken(["--web"], "sft") == (["--web"], None)
    with pytest.raises(ConfigError, match="--prompt: no text behind it"):
        spoken(["a", "--prompt"], "chat")


def test_help_tells_of_runs_and_flags():
    shown = CliRunner().invoke(cli.app, ["chat", "--help"]).stdout
    for part in ("[RUN ...]", "--prompt TEXT", "--web", "judged_by=null"):
        assert part in shown
    assert "Groups" not in shown
