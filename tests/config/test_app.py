"""A command line in, a run directory per job out."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmtrain.config import compose, paths, recipes, sweep
from llmtrain.config.choices import KLName
from llmtrain.errors import ConfigError, Interrupted, TrainingError
from llmtrain.launch import processes
from llmtrain.stages.plan import plan
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


def test_what_differs_from_the_recipe_is_recorded(executed):
    """With the recipe's own value; what it leaves open has null. A file is a recipe, and none at all is the root."""
    Path("mine.yaml").write_text("kl: {coef: 0.25}\nseed: 3\n")
    run("ppo", "kl.coef=0.25", "run.name=x")
    run("ppo", "conf=mine.yaml", "seed=4")
    run("ppo", "conf=null", "seed=5")
    told = [json.loads((path / "lineage.json").read_text())["recipe"] for path, _ in executed]
    values = {"kl.coef": conf("recipes/ppo/tiny")["kl"]["coef"], "run.name": "tiny"}
    assert told[0] == {"conf": "tiny", "values": values}
    assert told[1] == {"conf": "mine", "values": {"seed": 3}}
    assert told[2] == {"conf": "", "values": {"seed": conf("base")["seed"]}}


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
        (["-m", "seed=-1,2"], "seed=-1:\nseed: -1"),
        (["-m", "seed=2,-1"], "seed=-1:\nseed: -1"),
        (["-m", "schedule=linear,nope"], "schedule=nope: there is no such option"),
        (["-m", "conf=./sweeping.yaml"], "seed=-3:\nseed: -3"),
        (["-m", "run.root=a,b"], "run.root: cannot be swept"),
        (["-m", "conf=./a.yaml,./b.yaml"], "run.root: all jobs of a sweep lie in one folder, not in a, b"),
        (["-m", "conf=glob(*)", "seed=-1"], "seed: -1"),
        (["run.root="], "run.root: is empty"),
        (["run.root=' '"], "run.root: is empty"),
        (["run.root=sweeping.yaml/x"], "run.root: sweeping.yaml/x cannot be written"),
        (["run.root=/proc/nope"], "run.root: /proc/nope cannot be written"),
        (["init=''"], "init: is empty"),
        (["data.cache=' '"], "data.cache: is empty"),
        (["--cfg"], "--cfg: '' is none of its values; give one of job, hydra, all"),
        (["--cfg", "foo"], "--cfg: 'foo'"),
        ([""], "'': an empty word"),
        (["./foo"], "./foo: settings are written KEY=VALUE; did you mean data=./foo"),
        (["run.name=ünï"], "run.name: 'ünï' may hold letters"),
        (["data.split=a{b"], r"data.split: 'a{b' cannot be read \(.*\); put text in quotes"),
        (["run.name=1"], "quote it: 'run.name=\"1\"'"),
        (["modle=tiny"], "modle: there is no such key"),
        (["optimzer.lr=1"], "optimzer: there is no such key; did you mean optimizer"),
        (["advantage=rloo"], "advantage: there is no such key"),  # a group, but not of this command
        (["conf=tinny"], "conf=tinny: there is no such option; did you mean tiny"),
        (["conf=tinny.yaml"], "tinny.yaml: no such file; did you mean tiny"),
        (["conf=./dotted.yaml"], "optimizer.lr: write it nested: optimizer: {lr: VALUE}"),
        (["conf=./chain.yaml"], r"defaults: e1: no such recipe; .*conf=\[e1.yaml,chain.yaml\]"),
        (["init=${nope}"], "^init: Interpolation key 'nope' not found; "),
        (["data=b c,d.txt"], r"data: several values; add -m to run each, or write data=\['b c','d.txt'\]"),
        (["hydra/launcher=joblib"], "hydra/launcher: does nothing without -m"),
        (["conf=real"], "data.path: empty; give data=FILE"),
        (
            ["launch.device=cuda", "data=wrong.jsonl"],
            "(?s)launch.device: torch sees no GPU.*wrong.jsonl:1: no known format",
        ),
    ],
)
def test_a_wrong_command_line_leaves_no_directory(executed, args, message, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    Path("sweeping.yaml").write_text("hydra: {sweeper: {params: {seed: '1,-3'}}}\n")
    Path("dotted.yaml").write_text("optimizer.lr: 3\n")
    Path("chain.yaml").write_text("defaults: [tiny, e1]\n")
    Path("wrong.jsonl").write_text('{"x": 1}\n')
    for name in "ab":
        Path(f"{name}.yaml").write_text(f"run: {{root: {name}}}\n")
    with pytest.raises(ConfigError, match=message) as caught:
        run("sft", *args)
    assert caught.value.exit_code == 2
    assert not executed
    assert not [path for path in Path().iterdir() if path.is_dir()]


def test_all_faults_of_a_command_line_come_at_once():
    with pytest.raises(ConfigError) as caught:
        run("sft", "optimizer.lrr=1", "modle=x", "schedule=nope", "seed=-1", "max_steps=5", "data=nothing.json")
    said = str(caught.value)
    for part in (
        "optimizer.lrr:",
        "modle:",
        "schedule=nope:",
        "seed:",
        "max_steps, epochs:",
        "nothing.json: no such file",
    ):
        assert part in said


def test_a_key_of_a_stage_is_found_for_a_pipeline():
    with pytest.raises(ConfigError, match=r"max_steps: .* under its name: pretrain.max_steps, sft.max_steps"):
        run("pipeline", "max_steps=10")


def test_flags_stand_anywhere_and_behind_two_dashes_there_are_settings(executed):
    assert run("sft", "seed=1", "-m", "optimizer.lr=0.1,0.2", "run.root=out") == 0
    assert run("sft", "--", "seed=4") == 0
    assert [config["seed"] for _, config in executed] == [1, 1, 4]


def test_a_sweep_over_all_recipes(executed):
    with pytest.raises(ConfigError) as caught:
        run("sft", "-m", "conf=glob(*)")
    assert "conf=real:\ndata.path: empty" in str(caught.value)
    assert run("sft", "-m", "conf=glob(ti*)") == 0
    assert [config["run"]["name"] for _, config in executed] == ["tiny"]


def test_of_a_large_sweep_every_value_is_checked_at_least_once():
    with compose.beside():
        found = list(sweep.jobs("sft", ["seed=range(0,50)", "schedule=linear,wsd,nope", "optimizer.lr=1"]))
    assert len(found) == 50 <= sweep.LIMIT
    assert {setting for _, job in found for setting in job} == {
        *(f"seed={n}" for n in range(50)),
        *(f"schedule={name}" for name in ("linear", "wsd", "nope")),
        "optimizer.lr=1",
    }


def test_words_beyond_ascii_reach_the_configuration(executed):
    Path("ünï.yaml").write_text("seed: 3\n")
    assert run("pretrain", "conf=./ünï.yaml", "sample_prompts=[Über,b]", "data.cache=Zwischenlager/ü") == 0
    config = executed[0][1]
    assert (config["seed"], config["sample_prompts"], config["data"]["cache"]) == (3, ["Über", "b"], "Zwischenlager/ü")


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ("model=small", {"model": conf("model/small")}),
        ("schedule=constant", {"schedule": conf("schedule/constant")}),
        ("tokenizer=char", {"tokenizer": conf("tokenizer/char")}),
        ("data=a.txt", {"data": {"name": "files", "rows": None, "world": None}}),
    ],
)
@pytest.mark.parametrize("saved", [True, False])
def test_a_group_on_the_command_line_wins_over_a_recipe(executed, choice, wanted, saved):
    Path("a.txt").write_text("x")
    Path("mine.yaml").write_text(
        "model: {layers: 9}\nschedule: {final: 0.5}\ntokenizer: {vocab_size: 999}\ndata: microworld\n"
    )
    if saved:
        run("pretrain")
    assert run("pretrain", f"conf={executed[0][0]}/config.yaml" if saved else "conf=mine.yaml", choice) == 0
    for node, values in wanted.items():
        assert executed[-1][1][node] | values == executed[-1][1][node]
    if choice == "data=a.txt":
        assert [Path(path).name for path in executed[-1][1]["data"]["path"]] == ["a.txt"]


def test_a_recipe_keeps_what_does_not_tell_options_apart(executed):
    run("ppo", "kl=adaptive", "schedule=wsd")
    config, own = executed[0][1], conf("recipes/ppo/tiny")
    assert (config["kl"]["coef"], config["kl"]["cap"]) == (own["kl"]["coef"], own["kl"]["cap"])
    assert config["schedule"]["warmup"] == own["schedule"]["warmup"]


@pytest.mark.parametrize("saved", [True, False])
def test_an_estimator_and_a_judge_are_chosen_over_a_recipe_s_own(executed, saved):
    """What a recipe says about a critic or a reward model gives way with them."""
    Path("mine.yaml").write_text("defaults: [tiny]\nadvantage: {critic_lr: 0.5}\njudge: {init: x, scale: 2.0}\n")
    if saved:
        run("ppo", "conf=mine.yaml")
    recipe = f"conf={executed[0][0]}/config.yaml" if saved else "conf=mine.yaml"
    assert run("ppo", recipe, "advantage=rloo", "judge=rule", "judge.rule=gold") == 0
    config = executed[-1][1]
    assert config["advantage"] == conf("advantage/rloo")
    assert config["judge"] == conf("judge/rule") | {"rule": "gold", "scale": 2.0}


def test_a_sweep_over_all_estimators(executed):
    assert run("ppo", "-m", f"advantage={','.join(paths.groups()['advantage'])}") == 0
    assert [config["advantage"]["name"] for _, config in executed] == paths.groups()["advantage"]


def stages(*args: str) -> dict[str, Any]:
    """The stages of a pipeline by name, as a command line gives them."""
    config = compose.composed("pipeline", recipes.resolve("pipeline", list(args)))
    return {step.name: step.config for step in plan(config, Path("runs/x"))}


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("recipe", [False, True])
def test_a_pipeline_takes_the_group_of_a_stage_and_keys_below_it(order, recipe):
    Path("f.jsonl").write_text("{}")
    args = ["sft.data=f.jsonl", "sft.data.max_length=64", "pretrain.model=small", "pretrain.model.layers=3"][::order]
    if recipe:
        Path("mine.yaml").write_text("sft: {data: f.jsonl}\npretrain: {model: {layers: 3}, schedule: wsd}\n")
        args = ["conf=mine.yaml", "sft.data.max_length=64", "pretrain.model=small", "pretrain.model.layers=3"][::order]
    found = stages(*args)
    assert (found["sft"].data.path, found["sft"].data.max_length) == (["f.jsonl"], 64)
    assert (found["pretrain"].model.width, found["pretrain"].model.layers) == (conf("model/small")["width"], 3)
    assert found["pretrain"].schedule.name.value == ("wsd" if recipe else "linear")  # the tiny recipe's own


def test_a_pipeline_s_stages_take_the_recipe_that_is_named():
    Path("t.yaml").write_text("data: {eval_rows: 77}\n")
    Path("mine.yaml").write_text("recipe: ./t.yaml\n")
    for args in (["recipe=./t.yaml"], ["conf=mine.yaml"]):
        assert stages(*args)["sft"].data.eval_rows == 77


@pytest.mark.parametrize("own", [["init=x", "model.layers=2"], ["init=x", "tokenizer=char"]])
def test_a_new_model_s_keys_do_nothing_with_init(executed, own):
    with pytest.raises(ConfigError, match="does nothing with init=x, which brings its own"):
        run("pretrain", *own)


@pytest.mark.parametrize(
    "own, meant",
    [("ppo.kl.coeff=1", "did you mean ppo.kl.coef"), ("sft.epoch=2", "did you mean sft.epochs")],
)
def test_a_pipeline_finds_the_fault_of_a_late_stage_before_the_first(executed, own, meant):
    with pytest.raises(ConfigError, match=f"(?s){own.split('.')[0]} .*{meant}"):
        run("pipeline", own)
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
    (table,) = Path("runs/sft/sweep").glob("*/sweep.csv")
    assert "seed=1" in table.read_text()


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


def test_a_faulty_configuration_is_printed_before_its_faults(executed, capsys):
    with pytest.raises(ConfigError, match="(?s)optimizer.lrr.*seed: -1|seed: -1.*optimizer.lrr") as caught:
        run("sft", "seed=-1", "--cfg", "job", "+optimizer.lrr=3")
    assert caught.value.exit_code == 2
    assert yaml.safe_load(capsys.readouterr().out)["seed"] == -1
    assert not Path("runs").exists()


def test_compose_stage_takes_nested_overrides_and_group_choices():
    config = compose.compose_stage(
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
        compose.compose_stage("sft", "tiny", {"seed": -1, "batch": {"rows": 0}})


def test_compose_stage_leaves_the_recipes_of_the_running_command(executed, monkeypatch):
    """A pipeline composes its stages inside its own job; the next job of a sweep still finds its own recipes."""
    good, seen = processes.execute, []

    def execute(path: Path):
        seen.append(compose.compose_stage("ppo", "tiny", {}).batch.rows)
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
    assert compose.compose_stage("sft", "tiny", {"data": {"cache": text}}).data.cache == text
