"""pipeline: the plan of all stages, and going on at the unfinished one."""

import json
import os
import signal
from pathlib import Path

import pytest
import tiny

from llmtrain.config.check import mapping
from llmtrain.config.compose import compose_stage
from llmtrain.errors import ConfigError, Interrupted, TrainingError
from llmtrain.launch import processes
from llmtrain.run import directory
from llmtrain.stages import inside, pipeline


def configured(root: Path, **changes):
    shared = {"run": {"root": str(root), "name": "t"}, "launch": {"threads": 1, "device": "cpu"}}
    own = {command: tiny.OWN[command] for command in ("pretrain", "sft", "sample", "ppo", "eval")}
    return compose_stage("pipeline", "tiny", tiny.merged(shared, changes)), own


def test_plan_composes_every_stage_of_two_rounds(runs):
    config, _ = configured(runs, rounds=2)
    steps = {step.name: step for step in pipeline.plan(config, runs)}
    assert list(steps) == [
        "pretrain",
        "sft",
        "sample-1",
        "reward-1",
        "ppo-1",
        "sample",
        "reward",
        "ppo",
        "eval-pretrain",
        "eval-sft",
        "eval-ppo",
    ]
    at = {name: str(runs / name) for name in steps}
    assert steps["sft"].config.init == at["pretrain"]
    assert steps["sample-1"].config.init == at["sft"]
    assert steps["ppo-1"].config.init == at["sft"]
    assert steps["ppo-1"].config.judge.init == at["reward-1"]
    assert steps["sample"].config.init == steps["ppo"].config.init == at["ppo-1"]
    assert steps["ppo"].config.reference == at["sft"]  # the KL of every round is against the SFT model
    assert steps["reward"].config.data.path == [at["sample-1"], at["sample"]]  # on all rankings so far
    assert steps["sample"].config.seed != steps["sample-1"].config.seed  # other prompts
    assert steps["eval-ppo"].config.init == at["ppo"]


def test_plan_with_dpo_needs_no_judge(runs):
    config, _ = configured(runs, improve="dpo")
    names = [step.name for step in pipeline.plan(config, runs)]
    assert names == ["pretrain", "sft", "sample", "dpo", "eval-pretrain", "eval-sft", "eval-dpo"]


def test_plan_takes_a_stage_s_own_overrides(runs):
    config, _ = configured(runs)
    config.ppo = {"kl": {"coef": 0.123}}
    found = {step.name: step.config for step in pipeline.plan(config, runs)}
    assert found["ppo"].kl.coef == 0.123


def test_fault_in_a_late_stage_is_found_before_the_first_computes(runs):
    config, _ = configured(runs)
    config.ppo = {"kl": {"coeff": 0.1}}
    with pytest.raises(ConfigError, match="ppo"):
        pipeline.plan(config, runs)


def test_faults_of_all_stages_come_at_once(runs):
    config, _ = configured(runs, rounds=2)
    config.pretrain, config.ppo = {"model": {"layers": 0}}, {"seed": -1}
    with pytest.raises(ConfigError, match=r"(?s)layers: 0.*seed: -1") as caught:
        pipeline.plan(config, runs)
    assert str(caught.value).count("seed: -1") == 1


@pytest.mark.parametrize(
    ("stage", "own", "key"),
    [
        ("sft", {"init": "x"}, "sft.init"),
        ("sample", {"seed": 3}, "sample.seed"),
        ("sample", {"annotate": "none"}, "sample.annotate"),
        ("reward", {"data": {"path": ["x"]}}, "reward.data.path"),
        ("reward", {"choose": {"data": "x"}}, "reward.data"),
        ("ppo", {"judge": {"init": "x"}}, "ppo.judge.init"),
        ("ppo", {"reference": "x"}, "ppo.reference"),
        ("eval", {"init": "x"}, "eval.init"),
        ("eval", {"models": ["x"]}, "eval.models"),
        ("ppo", {"choose": {"judge": "function"}, "judge": {"path": "x.py:f"}}, "ppo.judge"),
        ("pretrain", {"run": {"name": "x"}}, "pretrain.run.name"),
    ],
)
def test_what_the_pipeline_sets_cannot_be_set(stage, own, key, runs):
    config, _ = configured(runs)
    setattr(config, stage, own)
    config.dpo = {}
    with pytest.raises(ConfigError, match=f"(?m)^{key}: is set by the pipeline; drop it$"):
        pipeline.plan(config, runs)


def test_stages_of_two_worlds_are_refused(runs):
    config, _ = configured(runs)
    config.sft = {"data": {"world": 1}}
    with pytest.raises(ConfigError, match="pretrain.data.world=0, sft.data.world=1.*give all the same"):
        pipeline.plan(config, runs)


class Stages:
    """Stands in for the processes: every stage ends at once, one of them fails the first time."""

    def __init__(self, failing: str):
        self.failing, self.ran = failing, []

    def execute(self, path: Path) -> dict:
        self.ran.append(path.name)
        if path.name == self.failing:
            self.failing = ""
            raise RuntimeError("power cut")
        extra = {"headline": "eval/loss", "value": 0.5, "seconds": 1.0}
        if path.name.startswith("eval-"):
            value = {"rate": 0.5, "n": 4, "combinations": 4, "low": 0.1, "high": 0.9}
            extra["hhh"] = {"model": dict.fromkeys(("helpful", "honest", "harmless"), value)}
            row = {"h": "helpful", "prompt": "Who?", "answers": {"model": {"text": path.name, "ended": True}}}
            (path / "answers.jsonl").write_text(json.dumps(row) + "\n")
        if path.name == "reward":
            extra["findings"] = [{"name": "judge-at-chance", "says": "right on [.5]", "try": "more epochs="}]
        directory.write_result(path, "finished", "done", 3, {}, **extra)
        return directory.read_result(path)


@pytest.mark.parametrize("failing", ["pretrain", "reward", "eval-ppo"])
def test_pipeline_goes_on_at_the_unfinished_stage(failing, runs, monkeypatch, capsys):
    config, _ = configured(runs)
    path = runs / "pipeline" / "t" / directory.new_id()
    directory.create(path, mapping(config), argv=[])
    stages = Stages(failing)
    monkeypatch.setattr(inside, "execute", stages.execute)
    with pytest.raises(RuntimeError, match="power cut"):
        pipeline.run(config, path)
    names = [step.name for step in pipeline.plan(config, path)]
    at = names.index(failing)
    assert stages.ran == names[: at + 1]
    stages.ran.clear()
    record = pipeline.run(config, path)
    assert stages.ran == names[at:]
    assert record["status"] == "finished" and record["metrics"]["gold/min"] == 0.5
    table = json.loads((path / "hhh.json").read_text())
    assert set(table) == {"pretrain", "sft", "ppo"}
    assert (path / "hhh.png").stat().st_size > 1000
    assert "eval-sft" in (path / "samples.md").read_text()
    assert "doctor: reward: judge-at-chance: right on [.5]; try more epochs=" in capsys.readouterr().out
    assert [(f["stage"], f["name"]) for f in record["findings"]] == [("reward", "judge-at-chance")]


def test_stage_that_did_not_finish_ends_the_pipeline(runs, monkeypatch):
    config, _ = configured(runs)
    path = runs / "pipeline" / "t" / directory.new_id()
    directory.create(path, mapping(config), argv=[])

    def failed(stage: Path) -> dict:
        return {"status": "failed", "reason": "numbers"}

    monkeypatch.setattr(inside, "execute", failed)
    with pytest.raises(Exception, match="pretrain ended as failed: numbers"):
        pipeline.run(config, path)


@pytest.mark.parametrize("when", ["in a stage", "as a stage ends"])
def test_a_signal_names_the_pipeline_to_go_on_with(when, runs, monkeypatch):
    config, _ = configured(runs)
    path = runs / "pipeline" / "t" / directory.new_id()
    directory.create(path, mapping(config), argv=[])
    stages = Stages("")

    def execute(stage: Path) -> dict:
        if stage.name == "sft" and when == "in a stage":
            raise Interrupted(signal.SIGTERM, f"saved step 3; go on with: llmtrain resume {stage}")
        if stage.name == "sft":
            os.kill(os.getpid(), signal.SIGTERM)
        return stages.execute(stage)

    monkeypatch.setattr(inside, "execute", execute)
    with pytest.raises(Interrupted) as caught:
        pipeline.run(config, path)
    assert caught.value.exit_code == 143
    assert str(caught.value).endswith(f"go on with: llmtrain resume {path}")
    assert ("saved step 3" in str(caught.value)) == (when == "in a stage")
    assert directory.read_result(path)["status"] == "interrupted"
    assert stages.ran == ["pretrain"] + ["sft"] * (when == "as a stage ends")


def test_first_stages_of_a_pipeline_really_run(runs):
    """sft finds the pretrained model of its own tree."""
    config, own = configured(runs)
    config.pretrain, config.sft = own["pretrain"], own["sft"]
    data = {"cache": str(runs.parent / "cache")}
    config.pretrain, config.sft = (tiny.merged(part, {"data": data}) for part in (config.pretrain, config.sft))
    path = runs / "pipeline" / "t" / directory.new_id()
    steps = pipeline.plan(config, path)[:2]
    for step in steps:
        assert inside.begin(path / step.name, step)["status"] == "finished"
    lineage = json.loads((path / "sft" / "lineage.json").read_text())
    assert "pretrain" in lineage["parents"]["init"]["path"]
    assert lineage["recipe"]["conf"] == config.recipe and "init" in lineage["recipe"]["values"]
    assert inside.finished(path / "sft") is not None


def test_a_pipeline_starts_processes_a_stage_at_a_time(runs, monkeypatch):
    """Two processes that each ran the whole pipeline would create the same directories."""
    started: list[str] = []
    monkeypatch.setattr(processes, "_elastic", lambda path, count: started.append(path.name))
    config, _ = configured(runs, launch={"nproc_per_node": 2})
    path = runs / "pipeline" / "t" / directory.new_id()
    directory.create(path, mapping(config), argv=[])
    with pytest.raises(TrainingError, match="pretrain ended as None"):  # the launcher is a fake: nothing was trained
        processes.execute(path)
    assert started == ["pretrain"]
