"""A command line in, a run directory per job out."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from llmtrain.config import app
from llmtrain.config.choices import KLName
from llmtrain.errors import ConfigError, Interrupted, TrainingError
from llmtrain.launch import processes
from tests.config.conftest import conf, run


def test_overrides_reach_the_saved_configuration(executed):
    assert run("sft", "optimizer.lr=1e-3", "seed=7", "run.root=out") == 0
    (path, config), *more = executed
    assert not more
    assert path.parent.resolve() == Path("out/sft/tiny").resolve()
    assert (config["command"], config["seed"], config["optimizer"]["lr"]) == ("sft", 7, 1e-3)
    assert (
        config["data"]["rows"] == conf("recipes/sft/tiny")["data"]["rows"]
    )  # from the recipe tiny, which nobody named
    assert "hydra" not in config
    assert "conf" not in config
    assert json.loads((path / "lineage.json").read_text())["argv"][1:] == [
        "optimizer.lr=1e-3",
        "seed=7",
        "run.root=out",
    ]


def test_the_saved_configuration_is_a_recipe_that_gives_the_same_one(executed):
    run("ppo", "kl=adaptive", "kl.coef=0.123", "data.rows=11")
    run("ppo", f"conf={executed[0][0]}/config.yaml")
    assert executed[1][1] == executed[0][1]


def test_a_saved_configuration_of_another_command_is_refused(executed):
    run("ppo")
    with pytest.raises(ConfigError, match="configuration of 'ppo', not of 'sft'"):
        run("sft", f"conf={executed[0][0]}/config.yaml")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["optimizer.lrr=1"], "did you mean optimizer.lr"),
        (["+x=1"], "x: there is no such key"),
        (["seed=abc"], "'abc' should be a whole number"),
        (["seed=-1", "batch.rows=0"], "(?s)seed: -1.*batch.rows: 0"),
        (["conf=nope"], "conf=nope: there is no such option.*known are"),
        (["conf=./nope.yaml"], "no such file"),
        (["schedule=linaer"], "schedule=linaer: there is no such option; did you mean linear"),
        (["seed=1,2"], "seed: several values; add -m"),
        (["data=nothing.json"], "nothing.json: no such file"),
        (["-m", "seed=1,2", "batch.rows=0"], "batch.rows: 0"),
        (["-m", "seed=-1,2"], "seed: -1"),
    ],
)
def test_a_wrong_command_line_leaves_no_directory(executed, args, message):
    with pytest.raises(ConfigError, match=message) as caught:
        run("sft", *args)
    assert caught.value.exit_code == 2
    assert not executed
    assert not Path("runs").exists()


def test_a_pipeline_finds_the_fault_of_a_late_stage_before_the_first(executed):
    with pytest.raises(ConfigError, match="(?s)ppo .*did you mean ppo.kl.coef"):
        run("pipeline", "ppo.kl.coeff=1")
    assert not Path("runs").exists()


def test_a_sweep_has_one_directory_and_a_table_best_first(executed, capsys):
    assert run("sft", "-m", "optimizer.lr=0.003,0.001,0.002", "run.root=out") == 0
    (sweep,) = Path("out/sft/sweep").iterdir()
    folders = {p.name for p in sweep.iterdir() if p.is_dir()}
    assert folders == {"0-lr-0.003_root-out", "1-lr-0.001_root-out", "2-lr-0.002_root-out"}
    rows = list(csv.DictReader((sweep / "sweep.csv").open()))
    assert [row["eval/loss"] for row in rows] == ["0.001", "0.002", "0.003"]
    assert [row["job"] for row in rows] == ["1", "2", "0"]
    assert "optimizer.lr=0.001" in rows[0]["overrides"]
    assert "sweep.csv" in capsys.readouterr().out


def test_a_sweep_goes_on_after_a_failed_job_and_exits_with_1(executed, monkeypatch):
    good = processes.execute

    def execute(path: Path):
        if path.name.startswith("0-"):
            raise TrainingError("it diverged")
        return good(path)

    monkeypatch.setattr(processes, "execute", execute)
    assert run("sft", "-m", "seed=1,2") == 1
    assert [config["seed"] for _, config in executed] == [2]
    (log,) = Path("runs").rglob("0-*/train.log")
    assert "it diverged" in log.read_text()


def test_an_interruption_ends_a_sweep(executed, monkeypatch):
    def execute(path: Path):
        executed.append((path, {}))
        raise Interrupted(15)

    monkeypatch.setattr(processes, "execute", execute)
    with pytest.raises(Interrupted):
        run("sft", "-m", "seed=1,2")
    assert len(executed) == 1


def test_what_nobody_expected_is_one_line_and_a_traceback_in_the_run(monkeypatch, capsys):
    def execute(path: Path):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(processes, "execute", execute)
    assert run("pretrain") == 1
    shown = capsys.readouterr()
    assert "ZeroDivisionError: a bug" in shown.err
    assert "Traceback" not in shown.err + shown.out
    (path,) = Path("runs/pretrain/tiny").iterdir()
    assert any("Traceback" in file.read_text() for file in path.iterdir())


def test_a_sweep_composes_recipes_and_files(executed):
    Path("mine.yaml").write_text("# Mine.\ndefaults: [tiny]\nrun: {name: mine}\n")
    assert run("sft", "-m", "conf=tiny,./mine.yaml", "seed=1,2") == 0
    assert [(config["run"]["name"], config["seed"]) for _, config in executed] == [
        ("tiny", 1),
        ("tiny", 2),
        ("mine", 1),
        ("mine", 2),
    ]


def test_the_printed_configuration_starts_nothing(executed, capsys):
    assert run("sft", "--cfg", "job") == 0
    assert yaml.safe_load(capsys.readouterr().out)["optimizer"]["lr"] == conf("recipes/sft/tiny")["optimizer"]["lr"]
    assert not executed
    assert not Path("runs").exists()


def test_compose_stage_takes_nested_overrides_and_group_choices():
    config = app.compose_stage(
        "ppo",
        "tiny",
        {"choose": {"kl": "adaptive"}, "kl": {"coef": 0.5}, "schedule": "wsd", "init": "a b/it's", "stop": "never"},
    )
    assert config.kl.name is KLName.adaptive
    assert config.kl.target == conf("kl/adaptive")["target"]
    assert (config.kl.coef, config.init, config.stop.metric) == (0.5, "a b/it's", None)
    assert config.schedule.decay == conf("schedule/wsd")["decay"]


def test_compose_stage_names_the_stage_and_every_fault():
    with pytest.raises(ConfigError, match=r"(?s)sft \(conf=tiny\).*seed: -1.*batch.rows: 0"):
        app.compose_stage("sft", "tiny", {"seed": -1, "batch": {"rows": 0}})


def test_compose_stage_leaves_the_recipes_of_the_running_command(executed, monkeypatch):
    """A pipeline composes its stages inside its own job; the next job of a sweep still finds its own recipes."""
    good, seen = processes.execute, []

    def execute(path: Path):
        seen.append(app.compose_stage("ppo", "tiny", {}).batch.rows)
        return good(path)

    monkeypatch.setattr(processes, "execute", execute)
    assert run("sft", "-m", "seed=1,2") == 0
    assert seen == [conf("recipes/ppo/tiny")["batch"]["rows"]] * 2
    assert [config["command"] for _, config in executed] == ["sft", "sft"]
    assert len({path.parent for path, _ in executed}) == 1


@pytest.mark.parametrize("text", ["${oc.env:HF_TOKEN}", "${oc.${data.split}:HF_TOKEN}"])
def test_no_environment_variable_gets_into_a_configuration(executed, monkeypatch, text):
    monkeypatch.setenv("HF_TOKEN", "canary-1234567890")
    with pytest.raises(ConfigError, match="HF_TOKEN does not go into a configuration") as caught:
        run("sft", f"init='{text}'", "data.split=env")
    assert "canary" not in str(caught.value)
    assert not Path("runs").exists()


def test_the_two_folders_come_from_the_environment(executed, monkeypatch):
    monkeypatch.setenv("LLMTRAIN_RUNS", "elsewhere")
    monkeypatch.setenv("LLMTRAIN_CACHE", "kept")
    run("sft")
    assert executed[0][0].parts[-4] == "elsewhere"
    assert executed[0][1]["data"]["cache"] == "kept"


@pytest.mark.parametrize(
    "text", ["plain", "a b", "it's", "true", "null", "1e-3", "7", "a,b", "x=y", "[a]", "back\\slash", "end\\"]
)
def test_texts_survive_the_override_grammar(text):
    assert app.compose_stage("sft", "tiny", {"data": {"cache": text}}).data.cache == text
