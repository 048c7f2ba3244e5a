import json
import os
import shutil

import huggingface_hub
import pytest
from checkpoint_fakes import write_model

from llmtrain.errors import InitError, RunError
from llmtrain.run import lineage
from llmtrain.run.lineage import resolve_file, resolve_model

A, B, C = "20260101-000000-000000", "20260102-000000-000000", "20260103-000000-000000"


@pytest.fixture
def resolve(tmp_path):
    return lambda init, *stages: resolve_model(
        str(init), root=tmp_path / "runs", name="demo", stages=stages or ("sft",)
    )


def test_latest_is_the_newest_finished_of_the_stages(make_run, resolve):
    make_run("sft", A)
    ppo = make_run("ppo", B)
    make_run("sft", C, status="failed")
    assert resolve("latest", "ppo", "sft").run == ppo
    assert resolve("latest", "sft").run.name == A


def test_latest_finds_a_stage_of_a_pipeline(make_run, resolve):
    make_run("sft", A)
    staged = [make_run(stage, B, inside="pipeline") for stage in ("sft", "ppo")]
    assert resolve("latest", "sft").run == staged[0]
    assert resolve("latest", "ppo", "sft").run == staged[1], "of one pipeline the stage named first"
    make_run("sft", C)
    assert resolve("latest", "ppo", "sft").run.name == C


def test_latest_of_nothing_says_what_to_run(make_run, resolve):
    make_run("sft", A, name="other")
    make_run("sft", B, status=None)
    with pytest.raises(
        InitError, match="no finished run of `llmtrain ppo run.name=demo` or `llmtrain sft run.name=demo`"
    ):
        resolve("latest", "ppo", "sft")


def test_a_run_gives_its_newest_checkpoint_or_its_best(make_run, resolve):
    assert resolve(make_run("sft", A, steps=(5, 9))).path.name == "step-00000009"
    assert resolve(make_run("sft", B, steps=(5, 9), metrics=(0.9, 0.1))).path.name == "step-00000005"


def test_a_damaged_best_or_newest_gives_a_good_one(make_run, resolve, caplog):
    run = make_run("sft", A, steps=(1, 5, 9), metrics=(0.1, 0.9, 0.2))
    for step, left in ((5, 9), (9, 1)):
        file = run / f"checkpoints/step-{step:08d}/model.safetensors"
        os.truncate(file, 10)
        assert resolve(run).path.name == f"step-{left:08d}"
        assert str(file) in caplog.text
    os.truncate(run / "checkpoints/step-00000001/config.json", 1)
    with pytest.raises(InitError, match="none of 3"):
        resolve(run)


def test_a_best_that_points_outside_is_refused(make_run, resolve):
    other = make_run("sft", B)
    run = make_run("sft", A)
    (run / "checkpoints/best").symlink_to(other / "checkpoints/step-00000005")
    assert resolve(run).path.parent == run / "checkpoints"


def test_the_ways_to_name_a_run(make_run, resolve, monkeypatch):
    run = make_run("sft", A)
    (run.parent / "latest").symlink_to(A)
    origin = resolve(run)
    checkpoint = run / "checkpoints/step-00000005"
    for init in (run.parent / "latest", run / "checkpoints", checkpoint, run / "checkpoints/latest"):
        assert resolve(init) == origin
    monkeypatch.chdir(run.parent)
    assert resolve(A) == origin
    assert origin.path == checkpoint and origin.run == run


def test_a_pipeline_stands_for_its_stage(make_run, resolve):
    stage = make_run("sft", A, inside="pipeline")
    (stage.parent / "config.yaml").write_text("command: pipeline\n")
    assert resolve(stage.parent).run == stage
    with pytest.raises(InitError, match="pipeline without reward"):
        resolve(stage.parent, "reward")


def test_a_damaged_checkpoint_named_by_itself_is_an_error(make_run, resolve):
    path = make_run("sft", A) / "checkpoints/step-00000005"
    (path / "config.json").write_text('{"model_type": "gpt2 "}')
    with pytest.raises(InitError, match="config.json is not as it was written"):
        resolve(path)


def test_resolving_removes_nothing(make_run, resolve):
    """Another process may be saving into that run."""
    run = make_run("sft", A, status=None)
    part = run / "checkpoints/.tmp-save-step-00000009-0123abcd"
    part.mkdir()
    resolve(run)
    assert part.is_dir()


def test_a_judge_is_no_policy(make_run, resolve):
    reward, sft = make_run("reward", A), make_run("sft", A)
    assert resolve(reward, "reward").run == reward
    for init, stages in ((reward, ("sft",)), (sft, ("reward",)), (reward / "checkpoints/step-00000005", ("sft",))):
        with pytest.raises(InitError, match="is a run of `llmtrain"):
            resolve(init, *stages)


def test_a_run_without_a_checkpoint(make_run, resolve):
    with pytest.raises(InitError, match="holds no checkpoint"):
        resolve(make_run("sft", A, steps=(), status=None))


def test_a_foreign_model_directory(tmp_path, make_run, resolve):
    """A copy of a checkpoint's model has the checkpoint's digest."""
    write_model(5.0)(tmp_path)
    origin = resolve(tmp_path)
    assert (origin.path, origin.run) == (tmp_path, None)
    assert origin.digest == resolve(make_run("sft", A)).digest
    (tmp_path / "config.json").write_text("{}")
    assert resolve(tmp_path).digest != origin.digest


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth", "a.ckpt", "a.pkl"])
def test_pickles_are_refused_with_a_way_out(tmp_path, resolve, name):
    """S1."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
    with pytest.raises(InitError, match=f"{name} can run code.*convert it to safetensors"):
        resolve(tmp_path)


def test_directories_that_are_no_model(tmp_path, resolve):
    with pytest.raises(InitError, match="no \\*.safetensors"):
        resolve(tmp_path)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(InitError, match="no config.json"):
        resolve(tmp_path)
    with pytest.raises(InitError, match="is a file"):
        resolve(tmp_path / "model.safetensors")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The hub's client, replaced: a model, or the error to raise."""
    asked = []

    def download(repo_id, *, revision, allow_patterns):
        asked.append((repo_id, revision, tuple(allow_patterns)))
        if repo_id == "org/away":
            raise huggingface_hub.errors.LocalEntryNotFoundError("cannot reach the hub\nlong story")
        folder = tmp_path / "cache"
        folder.mkdir(exist_ok=True)
        write_model(1.0)(folder)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return asked


@pytest.mark.parametrize(("init", "revision"), [("org/name", None), ("hub:org/name", None), ("org/name@v1.0", "v1.0")])
def test_a_hub_id(hub, resolve, init, revision):
    origin = resolve(init)
    assert hub[0][:2] == ("org/name", revision)
    assert not [pattern for pattern in hub[0][2] if pattern.endswith((".bin", ".py", ".pt", "*"))]
    assert (origin.run, origin.path.name) == (None, "cache")


def test_a_hub_out_of_reach(hub, resolve):
    with pytest.raises(
        InitError, match=r"org/away: no such path here, and the hub did not give it \(cannot reach the hub\)"
    ):
        resolve("org/away")


@pytest.mark.parametrize("init", ["runs/typo", "sft", "./a/b", "/a/b", "a/b/c", "../a", "org/na me", "", "a/b@c@d"])
def test_a_wrong_path_does_not_go_to_the_network(hub, resolve, tmp_path, monkeypatch, init):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InitError):
        resolve(init)
    assert hub == []


def test_a_file_of_a_run(make_run, tmp_path):
    run = make_run("sample", A)
    (run / "rankings.jsonl").write_text("{}")
    make_run("sample", B, status="failed")
    named = dict(root=tmp_path / "runs", name="demo", stages=("sample",), file="rankings.jsonl")
    for init in ("latest", str(run)):
        assert resolve_file(init, **named) == run / "rankings.jsonl"
    (run / "rankings.jsonl").unlink()
    with pytest.raises(InitError, match="has no rankings.jsonl; give a run of `llmtrain sample`"):
        resolve_file("latest", **named)
    with pytest.raises(InitError, match="not a run directory"):
        resolve_file(str(tmp_path), **named)
    with pytest.raises(InitError, match="no finished run"):
        resolve_file("latest", **{**named, "stages": ("eval",)})


def test_what_is_written_is_read(make_run, resolve):
    sft, base = make_run("sft", B, status=None), make_run("pretrain", A)
    origin = resolve(base)
    lineage.write(sft, {"init": origin}, {"data": "d1"})
    record = lineage.read(sft)
    assert record["parents"]["init"]["digest"] == origin.digest
    assert record["argv"] == ["sft"], "what create() recorded stays"
    assert lineage.parents(sft) == {"init": origin.path}
    assert lineage.recorded(sft, "init") == origin
    assert lineage.recorded(sft, "judge") is None


def test_a_tree_of_runs_can_be_moved(make_run, resolve, tmp_path):
    sft, base = make_run("sft", B), make_run("pretrain", A)
    lineage.write(sft, {"init": resolve(base)}, {})
    (tmp_path / "runs").rename(tmp_path / "moved")
    moved = tmp_path / "moved" / sft.relative_to(tmp_path / "runs")
    assert lineage.recorded(moved, "init").run == tmp_path / "moved" / base.relative_to(tmp_path / "runs")


def test_going_on_from_something_else_is_refused(make_run, resolve):
    """R15, R26: `latest` may mean another run by now, and files change."""
    sft, one = make_run("sft", C), resolve(make_run("pretrain", A))
    two = resolve(make_run("pretrain", B, steps=(7,)))
    lineage.write(sft, {"init": one}, {"data": "d1"})
    lineage.write(sft, {"init": one}, {"data": "d1"})
    with pytest.raises(RunError, match="init changed"):
        lineage.write(sft, {"init": two}, {"data": "d1"})
    with pytest.raises(RunError, match="data changed"):
        lineage.write(sft, {"init": one}, {"data": "d2"})
    assert lineage.recorded(sft, "init") == one


def test_a_parent_that_is_gone_or_changed(make_run, resolve, tmp_path):
    sft = make_run("sft", B)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    write_model(1.0)(foreign)
    lineage.write(sft, {"init": resolve(foreign)}, {})
    (foreign / "config.json").write_text('{"other": 1}')
    with pytest.raises(InitError, match="changed since"):
        lineage.recorded(sft, "init")
    shutil.rmtree(foreign)
    with pytest.raises(InitError, match="is gone"):
        lineage.recorded(sft, "init")


@pytest.mark.parametrize("text", ["", "[]", "{}", "{"])
def test_what_is_no_record_is_refused(tmp_path, text):
    (tmp_path / "lineage.json").write_text(text)
    with pytest.raises(RunError, match="lineage.json"):
        lineage.read(tmp_path)


def test_a_run_not_made_by_create(tmp_path):
    assert lineage.read(tmp_path) == {}
    lineage.write(tmp_path, {}, {"data": "d"})
    assert json.loads((tmp_path / "lineage.json").read_text())["data"] == {"data": "d"}


@pytest.mark.parametrize("init", ["x" * 300, "org/" + "x" * 300, "a\0b"])
def test_a_name_that_no_file_can_have_is_one_line(resolve, init):
    with pytest.raises(InitError, match="no such run") as error:
        resolve(init)
    assert len(str(error.value)) < 500


def test_a_bare_hub_name_is_told_its_owner_is_missing(resolve):
    with pytest.raises(InitError, match="init=gpt2: .*org/name, such as openai-community/gpt2"):
        resolve("gpt2")
