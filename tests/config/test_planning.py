"""`llmtrain plan`: the command line, its table and its JSON."""

import json

import pytest

from llmtrain.config import planning
from llmtrain.errors import ConfigError

SMALL = ["ppo", "conf=tiny", "launch.device=cpu", "--flops=1e12"]


def test_json_holds_the_four_models_of_ppo(capsys):
    assert planning.main([*SMALL, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert [model["role"] for model in told["models"]] == ["policy", "critic", "reference", "judge"]
    assert told["memory"]["fits"] and told["disk"]["fits"]
    assert told["run"]["seconds"] > told["step"]["seconds"] > 0
    assert told["machine"]["flops"] == 1e12


@pytest.mark.parametrize("args", [SMALL, ["pipeline", "conf=tiny", "launch.device=cpu", "--flops=1e12"]])
def test_the_table_fits_a_terminal(args, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    planning.main(args)
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert any("ppo" in line for line in lines)
    assert not [line for line in lines if "…" in line]


def test_what_does_not_fit_is_said_with_what_to_change(capsys):
    big = ["pretrain", "conf=gpt2-124m", "launch.device=cpu", "batch.micro_tokens=100000000", "--flops=1e15"]
    assert planning.main([*big, "batch.rows=90000"]) == 1
    text = " ".join(capsys.readouterr().out.split())
    assert "DOES NOT FIT" in text and "batch.micro_tokens=" in text


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["trian"], "did you mean pretrain"),
        (["data"], "give one of pretrain"),
        (["ppo", "--flops=much"], "--flops: 'much'"),
        (["ppo", "-m", "seed=1,2"], "a plan is of one job"),
        (["ppo", "batch.rws=1", "kl.coef=x"], "batch.rows"),
    ],
)
def test_a_wrong_command_line_is_told(args, message):
    with pytest.raises(ConfigError, match=message):
        planning.main(args)


def test_help_names_every_command(capsys):
    assert planning.main(["--help"]) == planning.main([]) == 0
    text = capsys.readouterr().out
    assert all(command in text for command in planning.COMMANDS)
