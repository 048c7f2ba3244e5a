"""A save that is killed, or whose disk fails, at every point of the commit protocol."""

import errno
import os
import resource
import shutil
from pathlib import Path

import pytest
from checkpoint_fakes import FILES, die, in_child, leftovers, save, value_of

from llmtrain.errors import CheckpointError, RunError
from llmtrain.run.checkpoints import Checkpoints


class Countdown:
    """Stands for one of the calls that change or secure the disk; acts at the nth of all of them."""

    def __init__(self, monkeypatch, nth: int, act):
        self.left, self.act = nth, act
        for owner, name in (
            (os, "fsync"),
            (os, "unlink"),
            (Path, "rename"),
            (Path, "replace"),
            (Path, "mkdir"),
            (Path, "chmod"),
        ):
            monkeypatch.setattr(owner, name, self.wrap(getattr(owner, name)))
        monkeypatch.setattr(shutil, "rmtree", self.wrap(shutil.rmtree))

    def wrap(self, real):
        def call(*arguments, **named):
            if not named.get("ignore_errors"):
                self.left -= 1
                if self.left == 0:
                    self.act()
            return real(*arguments, **named)

        return call


POINTS = 40  # more than there are; the tests check that


def test_killed_anywhere_in_a_save(tmp_path, monkeypatch):
    """R2: SIGKILL before each of the steps of a commit. The old or the new one is there, whole, and nothing else."""
    outcomes = []
    for nth in range(1, POINTS):
        checkpoints = Checkpoints(tmp_path / str(nth), keep_last=1, keep_best=0)
        save(checkpoints, 1)

        def work(checkpoints=checkpoints, nth=nth):
            Countdown(monkeypatch, nth, die)
            save(checkpoints, 2)

        code = in_child(work)
        assert code in (0, -9)
        outcomes.append((code, value_of(checkpoints)))
        assert leftovers(checkpoints) == []
        save(checkpoints, 3)
        assert value_of(checkpoints) == 3.0
        assert checkpoints.steps() == [3], "the next save finishes what the crash kept from being deleted"
    assert {(-9, 1.0), (-9, 2.0), (0, 2.0)} == set(outcomes)
    assert outcomes == sorted(outcomes, key=lambda outcome: (outcome[0] == 0, outcome[1])), "once committed it stays"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_failing_disk_at_any_point(tmp_path, monkeypatch, number):
    """R7, R8: an error at any point leaves the old checkpoint or the new one, and the next save works."""
    failed = 0
    for nth in range(1, POINTS):
        checkpoints = Checkpoints(tmp_path / str(nth), keep_last=2, keep_best=0)
        save(checkpoints, 1)

        def fail():
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            Countdown(patch, nth, fail)
            try:
                save(checkpoints, 2)
                committed = True
            except CheckpointError as error:
                assert os.strerror(number) in str(error)
                committed, failed = False, failed + 1
        assert value_of(checkpoints) == (2.0 if committed else 1.0)
        assert checkpoints.steps() == ([1, 2] if committed else [1])
        save(checkpoints, 2)
        save(checkpoints, 3)
        assert value_of(checkpoints) == 3.0
    assert 10 < failed < POINTS - 5, "both sides of the commit were met"


def test_a_disk_that_is_really_full(checkpoints):
    """R7: the file size limit strikes inside safetensors, where no Python call can be patched."""
    save(checkpoints, 1)

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, 8_000))
        with pytest.raises(CheckpointError, match="step 2 could not be saved.*older ones are intact"):
            save(checkpoints, 2)

    assert in_child(work) == 0
    assert leftovers(checkpoints) == []
    assert value_of(checkpoints) == 1.0
    save(checkpoints, 2)
    assert value_of(checkpoints) == 2.0


def test_a_bug_in_the_writer_is_not_called_a_full_disk(checkpoints):
    def broken(folder: Path) -> None:
        raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        checkpoints.save(1, broken, {}, {}, None)
    assert checkpoints.steps() == []
    assert leftovers(checkpoints) == []


def test_order_of_the_commit(checkpoints, monkeypatch):
    """R19 without a power switch: every file and the folder reach the disk before the rename, the parent after it."""
    events = []
    fsync, rename = os.fsync, Path.rename

    def logged_fsync(handle: int) -> None:
        events.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        fsync(handle)

    def logged_rename(path: Path, target: Path) -> Path:
        events.append(("rename", target.name))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", logged_fsync)
    monkeypatch.setattr(Path, "rename", logged_rename)
    final = save(checkpoints, 1)
    at = events.index(("rename", final.name))
    synced = [Path(event).name for event in events[:at]]
    assert sorted(synced[:-1]) == FILES
    assert synced[-1].startswith(".tmp-save-step-00000001-")
    assert events[at + 1] == str(checkpoints.folder)


def test_killed_anywhere_while_a_step_is_saved_again(tmp_path, monkeypatch):
    """A step that is saved again with its metric is there at every moment, whole."""
    codes = []
    for nth in range(1, POINTS):
        checkpoints = Checkpoints(tmp_path / str(nth), keep_last=1, keep_best=0)
        save(checkpoints, 1)

        def work(checkpoints=checkpoints, nth=nth):
            Countdown(monkeypatch, nth, die)
            save(checkpoints, 1, 0.5)

        codes.append(in_child(work))
        assert value_of(checkpoints) == 1
        assert leftovers(checkpoints) == []
    assert codes[0] == -9 and codes[-1] == 0


def test_a_run_folder_that_is_gone_is_not_made_again(tmp_path):
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints", keep_last=1, keep_best=0)
    with pytest.raises(RunError, match="folder is gone; start a new run"):
        save(checkpoints, 1)
    assert not (tmp_path / "run").exists()
