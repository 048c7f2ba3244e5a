"""What a run needs from its surroundings is looked for before it has a directory."""

import os
from pathlib import Path

import pytest

from llmtrain.config.compose import compose_stage
from llmtrain.errors import ConfigError
from llmtrain.run import directory
from llmtrain.run.trackers import TRACKERS
from llmtrain.stages import pipeline, preflight, sample
from llmtrain.stages.plan import Step, plan

CHAT = '{"instruction": "a", "output": "b"}\n'


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """No test waits for a network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(preflight, "know_the_network", lambda: None)


def faults(command: str, root: Path, **changes) -> str:
    config = compose_stage(command, "tiny", {"run": {"root": str(root), "name": "t"}} | changes)
    steps = plan(config, root / "run") if command == "pipeline" else [Step(command, command, config)]
    try:
        preflight.check(config, steps, root / "run")
    except ConfigError as error:
        return str(error)
    return ""


def test_nothing_is_missing_for_the_embedded_world(tmp_path):
    assert faults("pretrain", tmp_path) == faults("pipeline", tmp_path) == ""


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ("nope", "init: nope: no such run"),
        ("latest", "init: latest: no finished run of `llmtrain pretrain run.name=t`"),
    ],
)
def test_a_model_that_is_not_there(init, message, tmp_path):
    assert message in faults("sft", tmp_path, init=init)


def test_every_model_of_ppo_and_every_policy_of_sample(tmp_path):
    said = faults("ppo", tmp_path, reference="nowhere")
    assert [line.split(":")[0] for line in said.splitlines()] == ["init", "reference", "judge.init"]
    assert "policies: nowhere" in faults("sample", tmp_path, policies=["self@1.5", "nowhere@2"])


def test_a_machine_and_a_tracker_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(preflight, "find_spec", lambda name: None)
    said = faults("pretrain", tmp_path, launch={"device": "cuda"}, log=dict.fromkeys(TRACKERS, True))
    for part in ("launch.device: torch sees no GPU", *(f"log.{name}: {name} is not installed" for name in TRACKERS)):
        assert part in said


def test_an_engine_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "find_spec", lambda name: None)
    said = faults("sample", tmp_path, launch={"device": "cpu"}, sampling={"engine": "vllm"})
    assert "sampling.engine: vllm is not installed; pip install 'llmtrain[vllm]'" in said
    assert "sampling.engine: vllm needs a GPU" in said
    assert "sampling.engine" not in faults("sample", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"x": 1}\n', "no known format for a stage that reads chat"),
        ('{"instruction": "", "output": ""}\n' + CHAT, ""),  # the stage tells of it, or leaves it out
        ("", "no usable row"),
        (CHAT, ""),
    ],
)
def test_the_first_rows_of_a_file(text, message, tmp_path, caplog):
    file = tmp_path / "rows.jsonl"
    file.write_text(text)
    data = {"data": [str(file)], "init": str(tmp_path)}
    said = "\n".join(line for line in faults("sft", tmp_path, **data).splitlines() if not line.startswith("init"))
    assert message in said if message else said == ""
    assert not caplog.records


def test_all_stages_of_a_pipeline_before_the_first(tmp_path):
    chat, wrong = tmp_path / "chat.jsonl", tmp_path / "wrong.jsonl"
    chat.write_text(CHAT)
    wrong.write_text('{"x": 1}\n')
    said = faults(
        "pipeline",
        tmp_path,
        sft={"choose": {"data": str(wrong)}},
        ppo={"choose": {"data": str(wrong), "stop": "never"}},
    )
    assert f"sft.data.path: {wrong}:1: no known format for a stage that reads chat" in said
    assert f"ppo.data.path: {wrong}:1: no known format for a stage that reads prompt" in said
    assert (
        faults(
            "pipeline",
            tmp_path,
            sft={"choose": {"data": str(chat)}},
            ppo={"choose": {"data": str(chat), "stop": "never"}},
        )
        == ""
    )


def test_the_rankings_of_a_run(tmp_path):
    run = tmp_path / "sample" / "t" / directory.new_id()
    directory.create(run, {"command": "sample"}, argv=[])
    said = faults("reward", tmp_path, data={"path": [str(run)]})
    assert f"data.path: {run} has no rankings.jsonl" in said
    assert "data.path: latest: no finished run of `llmtrain rank run.name=t` or `llmtrain sample" in faults(
        "reward", tmp_path
    )


@pytest.mark.parametrize("root", ["file/below", "/proc/nope"])
def test_a_root_that_cannot_be_written(root, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="run.root: .* cannot be written .*; choose another"):
        preflight.make_root(str(tmp_path / root), "sft")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_root_of_somebody_else(tmp_path):
    (tmp_path / "sft").mkdir(mode=0o500)
    with pytest.raises(ConfigError, match="Permission denied"):
        preflight.make_root(str(tmp_path), "sft")


def test_latest_means_the_same_here_and_in_the_stages():
    """The stages name the commands where they ask for a model; the table must not fall behind."""
    assert preflight.LATEST["sample", "init"] == sample.STAGES
    for command in ("pretrain", "sft", "reward", "ppo", "dpo"):
        files = (f"{command}.py", "judges.py") if command == "ppo" else (f"{command}.py",)
        text = "".join(Path(pipeline.__file__).with_name(file).read_text() for file in files)
        for (own, key), commands in preflight.LATEST.items():
            if own == command:
                names = ", ".join(f'"{name}"' for name in commands) + ("," if len(commands) == 1 else "")
                assert f"config.{key}, ({names})" in text
