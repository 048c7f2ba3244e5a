import os
from pathlib import Path

import pytest
from checkpoint_fakes import names

from llmtrain.run import durable


def test_text_is_replaced_whole(tmp_path):
    file = tmp_path / "a.json"
    durable.write_text(file, "one")
    durable.write_text(file, "zwei ä")
    assert file.read_text(encoding="utf-8") == "zwei ä"
    assert names(tmp_path) == ["a.json"]


def test_a_failed_write_leaves_the_old_text(tmp_path, monkeypatch):
    file = tmp_path / "a.json"
    durable.write_text(file, "one")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        durable.write_text(file, "two")
    assert file.read_text() == "one"
    assert names(tmp_path) == ["a.json"]


def test_a_link_is_moved_and_relative(tmp_path):
    for target in ("a", "b", "b"):
        durable.point(tmp_path / "latest", target)
        assert str((tmp_path / "latest").readlink()) == target
    assert names(tmp_path) == ["latest"]


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_what_is_no_link_is_not_replaced(tmp_path, make):
    make(tmp_path / "latest")
    with pytest.raises(FileExistsError, match="not a symlink"):
        durable.point(tmp_path / "latest", "a")
    assert not (tmp_path / "latest").is_symlink()
