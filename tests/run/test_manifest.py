import hashlib
import json

import pytest

from llmtrain.errors import CheckpointError
from llmtrain.run import manifest


def written(folder, files: dict[str, bytes]):
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    manifest.write(folder, 7, 0.5)
    return folder


def test_digests_are_those_of_sha256(tmp_path):
    folder = written(tmp_path / "step-00000007", {"a": b"abc"})
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, "abc"
    assert manifest.read(folder).files == {"a": {"sha256": expected, "bytes": 3}}
    assert manifest.verify(folder) == []


def test_all_faults_at_once(tmp_path):
    folder = written(tmp_path / "step-00000007", {"a": b"abc", "b": b"abc", "c": b"abc"})
    (folder / "a").write_bytes(b"abd")
    (folder / "b").write_bytes(b"ab")
    (folder / "c").unlink()
    faults = manifest.verify(folder)
    assert [fault.removeprefix(str(folder)) for fault in faults] == [
        "/a is not as it was written",
        "/b has 2 bytes instead of 3",
        "/c is missing",
    ]


def test_a_linked_file_is_refused(tmp_path):
    folder = written(tmp_path / "step-00000007", {"a": b"abc"})
    (folder / "a").rename(tmp_path / "a")
    (folder / "a").symlink_to(tmp_path / "a")
    assert "a is missing" in manifest.verify(folder)[0]


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "sub/file"])
def test_names_are_plain(tmp_path, name):
    """S8: a manifest that is consistent in itself must not lead outside."""
    folder = written(tmp_path / "step-00000007", {})
    forged = manifest.Manifest(7, None, {name: {"sha256": "0" * 64, "bytes": 0}})
    (folder / manifest.NAME).write_text(manifest._text(forged))
    assert "names a path outside" in manifest.verify(folder)[0]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", "[" * 100_000, '{"step": 7, "metric": null, "files": []}', "\0"]
)
def test_what_is_no_manifest_is_refused(tmp_path, text):
    folder = tmp_path / "step-00000007"
    folder.mkdir()
    (folder / manifest.NAME).write_text(text)
    with pytest.raises(CheckpointError, match="manifest.json"):
        manifest.read(folder)


def test_an_edited_manifest_is_refused(tmp_path):
    folder = written(tmp_path / "step-00000007", {"a": b"abc"})
    fields = json.loads((folder / manifest.NAME).read_text())
    (folder / manifest.NAME).write_text(json.dumps({**fields, "metric": 0.9}, indent=1) + "\n")
    assert "not as it was written" in manifest.verify(folder)[0]


def test_model_digest_does_not_see_the_trainer():
    ours = {"trainer.json": "1", "trainer.safetensors": "2", "manifest.json": "3"}
    alone = manifest.model_digest({"b": "y", "a": "x"})
    assert alone == hashlib.sha256(b"x  a\ny  b\n").hexdigest()
    assert manifest.model_digest({"a": "x", "b": "y", **ours}) == alone
    assert manifest.model_digest({"a": "y", "b": "x"}) != alone
