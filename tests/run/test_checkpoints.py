import os
import shutil
import stat
from pathlib import Path

import pytest
import torch
from checkpoint_fakes import FILES, leftovers, names, save, value_of, write_model

from llmtrain.errors import CheckpointError
from llmtrain.run import manifest
from llmtrain.run.checkpoints import Checkpoints


def test_what_is_saved_comes_back(checkpoints):
    path = save(checkpoints, 5, metric=0.25)
    newest = checkpoints.newest()
    assert newest.path == path == checkpoints.folder / "step-00000005"
    assert (newest.step, newest.metric, newest.state()) == (5, 0.25, {"cursor": 5})
    assert torch.equal(newest.tensors()["optimizer.step.weight"], torch.full((8,), 5.0))
    assert names(path) == FILES
    assert str((checkpoints.folder / "latest").readlink()) == "step-00000005"


def test_a_fresh_run_has_none(checkpoints):
    assert checkpoints.newest() is None
    assert checkpoints.steps() == []


def test_no_tensors_are_fine(checkpoints):
    checkpoints.save(1, write_model(1.0), {}, {}, None)
    assert checkpoints.newest().tensors() == {}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def swap(path: Path) -> None:
    """The same file of the checkpoint before: intact in itself, but not this one's."""
    other = path.parent.with_name("step-00000001") / path.name
    path.write_bytes(other.read_bytes() + (b" " if other.read_bytes() == path.read_bytes() else b""))


def zero_page(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


DAMAGE = {
    "flipped bit": flip,
    "truncated": lambda path: os.truncate(path, path.stat().st_size - 1),
    "empty": lambda path: os.truncate(path, 0),
    "zeroed": zero_page,
    "deleted": Path.unlink,
    "swapped": swap,
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused_by_name_and_the_one_before_taken(checkpoints, caplog, damage, name):
    save(checkpoints, 1)
    newest = save(checkpoints, 2)
    DAMAGE[damage](newest / name)
    assert value_of(checkpoints) == 1.0
    assert str(newest / name) in caplog.text


def test_every_byte_counts(checkpoints):
    """F1: no loader finds a flipped bit; the manifest finds each one, in itself too."""
    path = save(checkpoints, 1)
    draws = torch.Generator().manual_seed(0)
    for name in FILES:
        whole = (path / name).read_bytes()
        for _ in range(20):
            at = int(torch.randint(len(whole) * 8, (1,), generator=draws))
            data = bytearray(whole)
            data[at // 8] ^= 1 << at % 8
            (path / name).write_bytes(data)
            assert manifest.verify(path), f"{name}: bit {at} flipped unseen"
        (path / name).write_bytes(whole)
    assert manifest.verify(path) == []


def test_extra_file_wrong_step_and_link_are_refused(checkpoints, caplog):
    save(checkpoints, 1)
    (save(checkpoints, 2) / "evil.py").write_text("")
    shutil.copytree(checkpoints.folder / "step-00000001", checkpoints.folder / "step-00000003")
    (checkpoints.folder / "step-00000004").symlink_to("step-00000001")
    assert value_of(checkpoints) == 1.0
    for word in ("evil.py is not in the manifest", "is that of step 1", "step-00000004 is not a folder"):
        assert word in caplog.text


def test_never_from_scratch_in_silence(checkpoints):
    for step in (1, 2):
        (save(checkpoints, step) / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="none of 2 checkpoints verifies"):
        checkpoints.newest()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_never_committed(checkpoints, bad):
    """R11, in the model and beside it."""
    save(checkpoints, 1)
    with pytest.raises(CheckpointError, match="step 2: weight in model.safetensors .* not finite"):
        checkpoints.save(2, write_model(bad), {}, {}, None)
    with pytest.raises(CheckpointError, match="step 2: moment in trainer.safetensors .* not finite"):
        checkpoints.save(2, write_model(2.0), {"moment": torch.tensor([1.0, bad])}, {}, None)
    with pytest.raises(CheckpointError, match="state cannot be written as JSON"):
        checkpoints.save(2, write_model(2.0), {}, {"kl": bad}, None)
    assert checkpoints.steps() == [1]
    assert leftovers(checkpoints) == []


def test_a_metric_that_is_not_finite_ranks_nothing(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep_last=1, keep_best=1)
    save(checkpoints, 1, metric=float("nan"))
    assert checkpoints.best() is None
    assert not (tmp_path / "best").exists()


def test_the_same_step_again_is_left_as_it_is(checkpoints):
    path = save(checkpoints, 1)
    before = {file.name: file.stat().st_mtime_ns for file in path.iterdir()}
    assert checkpoints.save(1, write_model(9.0), {}, {}, None) == path
    assert {file.name: file.stat().st_mtime_ns for file in path.iterdir()} == before


def test_the_same_step_again_replaces_a_damaged_one(checkpoints):
    path = save(checkpoints, 1)
    flip(path / "model.safetensors")
    save(checkpoints, 1)
    assert value_of(checkpoints) == 1.0
    assert [name for name in names(checkpoints.folder) if name.startswith("refused-step-00000001-")]


def test_after_a_walk_back_the_good_one_is_not_pruned(tmp_path):
    """keep_last=1 must not count the damaged newer checkpoint and delete the only good one."""
    checkpoints = Checkpoints(tmp_path, keep_last=1, keep_best=0)
    save(checkpoints, 5)
    flip(save(Checkpoints(tmp_path, 2, 0), 9) / "model.safetensors")
    assert value_of(checkpoints) == 5.0
    save(checkpoints, 7)
    assert value_of(checkpoints) == 7.0


@pytest.mark.parametrize(
    ("higher", "kept", "best"), [(True, [2, 5, 6], 2), (False, [1, 5, 6], 1)], ids=["higher", "lower"]
)
def test_retention_keeps_the_last_and_the_best(tmp_path, higher, kept, best):
    checkpoints = Checkpoints(tmp_path, keep_last=2, keep_best=1, higher_is_better=higher)
    for step, metric in enumerate([0.1, 0.9, 0.5, None, 0.4, 0.3], 1):
        save(checkpoints, step, metric)
    assert checkpoints.steps() == kept
    assert checkpoints.best().step == best
    assert str((tmp_path / "best").readlink()) == f"step-{best:08d}"
    assert str((tmp_path / "latest").readlink()) == "step-00000006"


def test_of_equally_good_ones_the_newer_is_best(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep_last=1, keep_best=1)
    for step in (1, 2, 3):
        save(checkpoints, step, metric=1.0 if step < 3 else 0.0)
    assert checkpoints.best().step == 2


def test_a_damaged_best_gives_the_next(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep_last=1, keep_best=2)
    for step, metric in ((1, 0.9), (2, 0.8), (3, 0.1)):
        save(checkpoints, step, metric)
    flip(tmp_path / "step-00000001" / "model.safetensors")
    assert checkpoints.best().step == 2


def test_retention_deletes_nothing_that_is_not_ours(tmp_path):
    """S9, R20: look-alikes, links, a foreign manifest and temporary-looking folders of others survive."""
    folder = tmp_path / "checkpoints"
    outside = tmp_path / "outside"
    checkpoints = Checkpoints(folder, keep_last=1, keep_best=0)
    save(Checkpoints(outside, 1, 0), 2)
    save(checkpoints, 1)
    (folder / "step-00000002").symlink_to(outside / "step-00000002")
    (folder / "step-00000003").mkdir()
    (folder / "step-00000003" / "thesis.txt").write_text("years of work")
    (folder / "step-00000004").mkdir()
    (folder / "step-00000004" / "manifest.json").write_text('{"step": 4, "metric": null, "files": {}}')
    shutil.copytree(folder / "step-00000001", folder / "step-00000005")
    for name in ("step-6", "my-step-00000007", ".tmp-notes", ".tmp-save-mine"):
        (folder / name).mkdir()
    theirs = sorted(set(names(folder)) - {"step-00000001", "latest"})
    for step in (10, 11):
        save(checkpoints, step)
    assert value_of(checkpoints) == 11.0
    assert names(folder) == sorted([*theirs, "step-00000011", "latest"])
    assert (outside / "step-00000002" / "model.safetensors").is_file()
    assert (folder / "step-00000003" / "thesis.txt").read_text() == "years of work"


def test_a_pointer_that_is_no_link_is_left(checkpoints, caplog):
    (checkpoints.folder / "latest").mkdir(parents=True)
    save(checkpoints, 1)
    assert value_of(checkpoints) == 1.0
    assert "latest is not a symlink" in caplog.text


def test_files_can_be_read_by_whom_the_umask_says(checkpoints):
    """F17: safetensors alone makes 0600."""
    before = os.umask(0o027)
    try:
        path = save(checkpoints, 1)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()} == {0o640}
    assert stat.S_IMODE(path.stat().st_mode) == 0o750


def test_a_subfolder_in_the_model_is_refused(checkpoints):
    with pytest.raises(CheckpointError, match="plain files only"):
        checkpoints.save(1, lambda folder: (folder / "deep").mkdir(), {}, {}, None)


def test_order_is_by_step_not_by_time(checkpoints):
    """R21: clocks lie."""
    save(checkpoints, 1)
    old = save(checkpoints, 2)
    os.utime(old, (0, 0))
    assert value_of(checkpoints) == 2.0
