import json
import os
import re

import pytest
from checkpoint_fakes import die, in_child

from llmtrain.errors import RunError
from llmtrain.run import directory, lock


def test_ids_have_the_form_and_sort_by_time(monkeypatch):
    clock = iter([1_790_000_000.0, 1_790_000_000.001, 1_790_000_000.5, 1_790_000_001.0])
    monkeypatch.setattr(directory.time, "time", lambda: next(clock))
    ids = [directory.new_id() for _ in range(4)]
    assert ids == sorted(ids)
    assert ids[0].startswith("20260921-141320-")
    assert all(re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", run_id) for run_id in ids)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["optimizer.lr=1e-3", "kl.coef=0.1"], "lr-1e-3_coef-0.1"),
        (["init=/home/me/../x y"], "init-home-me-..-x-y"),
        (["+model.name='a;b'"], "name-a-b"),
        (["../../etc=1"], "etc-1"),
        ([], "default"),
        (["..=.."], "default"),
    ],
)
def test_slug(overrides, expected):
    assert directory.slug(overrides) == expected


def test_a_long_slug_is_cut_and_stays_its_own():
    long = [directory.slug([f"data.path={'x' * 300}{i}"]) for i in range(2)]
    assert len(set(long)) == 2
    assert {len(name) for name in long} == {directory.SLUG_LENGTH}


def test_create_and_read(tmp_path):
    config = {"command": "sft", "optimizer": {"lr": 1e-05, "clip": None}, "names": ["ä", "b: c"], "flag": True}
    directory.create(tmp_path / "a" / "b", config, argv=["sft", "conf=tiny"])
    assert directory.read_config(tmp_path / "a" / "b") == config
    record = json.loads((tmp_path / "a" / "b" / "lineage.json").read_text())
    assert record["argv"] == ["sft", "conf=tiny"]
    assert record["versions"]["torch"]
    assert (record["parents"], record["data"]) == ({}, {})


def test_an_owned_directory_is_refused_and_untouched(tmp_path):
    directory.create(tmp_path, {"seed": 1}, argv=[])
    with pytest.raises(RunError, match=f"continue it with llmtrain resume {tmp_path}"):
        directory.create(tmp_path, {"seed": 2}, argv=[])
    assert directory.read_config(tmp_path) == {"seed": 1}


def test_a_kill_while_it_is_created_owns_nothing_or_all(tmp_path, monkeypatch):
    """Before each call that changes the disk: the next one creates it, or finds a whole configuration."""
    for nth in range(1, 12):
        left = [nth]

        def count(real, left=left):
            def call(*arguments, **named):
                left[0] -= 1
                return die() if not left[0] else real(*arguments, **named)

            return call

        def work(path=tmp_path / str(nth), count=count):
            for name in ("open", "fsync", "link", "unlink", "replace", "rename"):
                monkeypatch.setattr(os, name, count(getattr(os, name)))
            directory.create(path, {"seed": 1}, argv=[])

        in_child(work)
        if (tmp_path / str(nth) / "config.yaml").exists():
            assert directory.read_config(tmp_path / str(nth)) == {"seed": 1}
        else:
            directory.create(tmp_path / str(nth), {"seed": 1}, argv=[])


def test_relative_paths_are_stored_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.json").touch()
    (tmp_path / "base").mkdir()
    config = {
        "init": "base",
        "run": {"root": "runs", "name": "base"},
        "data": {"path": ["mine.json", "hub:org/name", "latest", "x" * 300, ""]},
        "sft": {"data": {"path": ["mine.json"]}, "init": "org/name"},
        "judge": {"path": "mine.py:score"},
        "judged_by": "mine.py:score",
    }
    (tmp_path / "mine.py").touch()
    directory.create(tmp_path / "run", config, argv=[])
    assert directory.read_config(tmp_path / "run") == {
        "init": f"{tmp_path}/base",
        "run": {"root": f"{tmp_path}/runs", "name": "base"},
        "data": {"path": [f"{tmp_path}/mine.json", "hub:org/name", "latest", "x" * 300, ""]},
        "sft": {"data": {"path": [f"{tmp_path}/mine.json"]}, "init": "org/name"},
        "judge": {"path": f"{tmp_path}/mine.py:score"},
        "judged_by": f"{tmp_path}/mine.py:score",
    }


def edited(path, **changes):
    """A run whose configuration somebody changed after it was created."""
    config = {"command": "sft", "seed": 0, "max_steps": 5, "optimizer": {"lr": 1e-3}, "log": {"every": 1}, "sft": {}}
    directory.create(path, config, argv=[])
    (path / "config.yaml").write_text(json.dumps(config | changes))
    return path


@pytest.mark.parametrize("changes, named", [
    ({"seed": 1}, r"seed \(was 0\)"), ({"optimizer": {"lr": 2e-3}}, r"optimizer.lr \(was 0.001\)"),
    ({"optimizer": {}}, "optimizer.lr"), ({"model": {"width": 3}}, "model.width"), ({"sft": {"seed": 1}}, "sft.seed"),
])  # fmt: skip
def test_a_changed_configuration_is_refused_with_its_keys(tmp_path, changes, named):
    path = edited(tmp_path, **changes)
    with pytest.raises(RunError, match=named) as error:
        directory.check_unchanged(path)
    assert f"llmtrain sft conf={path}/config.yaml" in str(error.value)


@pytest.mark.parametrize("changes", [
    {}, {"max_steps": 9}, {"log": {"every": 2}}, {"sft": {"loop": {"keep_last": 3}}},
])  # fmt: skip
def test_limits_and_surroundings_may_change(tmp_path, changes):
    directory.check_unchanged(edited(tmp_path, **changes))


def test_a_run_without_a_record_of_its_configuration_goes_on(tmp_path):
    path = edited(tmp_path, seed=1)
    (path / "lineage.json").unlink()
    directory.check_unchanged(path)


def test_a_folder_that_is_gone_is_not_a_full_disk(tmp_path):
    with pytest.raises(RunError, match="folder is gone, start a new run"):
        directory.write_result(tmp_path / "gone", "failed", "x", 0, {})


def test_a_full_disk_at_the_start_owns_nothing(tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RunError, match="No space left"):
            directory.create(tmp_path, {"seed": 1}, argv=[])
    directory.create(tmp_path, {"seed": 1}, argv=[])


def test_a_file_where_the_directory_should_be(tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(RunError):
        directory.create(tmp_path / "run", {}, argv=[])


@pytest.mark.parametrize("text", ["", "[1]", "a: [", "!!python/object:os.system {}", "x" * 9])
def test_what_is_no_config_is_refused(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(RunError, match="config.yaml"):
        directory.read_config(tmp_path)


def test_no_run_there(tmp_path):
    with pytest.raises(RunError, match="not a run directory"):
        directory.read_config(tmp_path)


def test_result_goes_and_comes(tmp_path):
    assert directory.read_result(tmp_path) is None
    values = {"a": 1.5, "b": float("nan")}
    directory.write_result(tmp_path, "finished", "all done", 7, values, value=float("inf"), hhh={"x": {"rate": 0.5}})
    assert directory.read_result(tmp_path) == {
        "status": "finished",
        "reason": "all done",
        "step": 7,
        "metrics": {"a": 1.5, "b": None},
        "value": None,
        "hhh": {"x": {"rate": 0.5}},
    }


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"status": 1}', "\udcff"])
def test_what_is_no_result_is_refused(tmp_path, text):
    (tmp_path / "result.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(RunError, match="result.json"):
        directory.read_result(tmp_path)


def test_state(make_run):
    assert directory.state(make_run("sft", "20260101-000000-000001", status="stopped")) == "stopped"
    died = make_run("sft", "20260101-000000-000002", status=None)
    assert directory.state(died) == "died"
    with lock.hold(died):
        assert directory.state(died) == "running"


def test_latest_is_the_newest_that_finished(make_run):
    """By id, never by mtime; an older run that ends later does not take it."""
    newer = make_run("sft", "20260102-000000-000000")
    make_run("sft", "20260103-000000-000000", status="failed")
    make_run("sft", "20260104-000000-000000", status=None)
    older = make_run("sft", "20260101-000000-000000", status="stopped")
    os.utime(newer, (0, 0))
    directory.point_latest(older)
    assert str((older.parent / "latest").readlink()) == newer.name
    root = newer.parents[2]
    assert directory.newest_finished(root, "sft", "demo") == newer
    assert directory.newest_finished(root, "sft", "other") is None
    assert directory.newest_finished(root, "ppo", "demo") is None


def test_a_stage_of_a_pipeline_is_found_and_gets_no_pointer(make_run):
    make_run("sft", "20260101-000000-000000")
    staged = make_run("sft", "20260102-000000-000000", inside="pipeline")
    assert directory.newest_finished(staged.parents[3], "sft", "demo") == staged
    directory.point_latest(staged)
    assert not (staged.parent / "latest").is_symlink()
