"""Long work that is done once."""

import pytest

from llmtrain.data.microworld import rows as microworld
from llmtrain.data.microworld.world import World
from llmtrain.data.remember import remembered
from llmtrain.data.sources import gather, later
from llmtrain.errors import DataError


def test_it_is_done_once_for_the_same_parts(tmp_path):
    done = []

    def make():
        done.append(1)
        return "one\ntwo é"

    for parts in (["a", 1], ["a", 1], ["a", 2]):
        assert remembered(tmp_path / "cache", "word", parts, make) == "one\ntwo é"
    assert len(done) == 2
    assert sorted(file.suffix for file in (tmp_path / "cache").iterdir()) == [".txt", ".txt"]


@pytest.mark.parametrize("damage", [b"", b"one", b"0\none", b"\xff\xfe"])
def test_what_is_damaged_is_made_again(tmp_path, damage):
    remembered(tmp_path, "word", [], lambda: "one")
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage)
    assert remembered(tmp_path, "word", [], lambda: "one") == "one"
    assert remembered(tmp_path, "word", [], lambda: "never asked") == "one"


def test_a_folder_that_cannot_be_written_costs_nothing_else(tmp_path):
    (tmp_path / "file").write_text("")
    assert remembered(tmp_path / "file" / "below", "word", [], lambda: "one") == "one"


def test_records_that_are_made_later_are_the_ones_that_were_promised():
    made = gather(microworld.documents(World(0), 3, 0), "three")
    asked = []

    def make():
        asked.append(1)
        return microworld.documents(World(0), 3, 0)

    source = later(make, 3, made.digest, "three")
    assert len(source.records) == 3 and source.counts == made.counts and not asked
    assert list(source.records) == list(made.records) == list(source.records)
    assert len(asked) == 1
    other = later(lambda: microworld.documents(World(1), 3, 0), 3, made.digest, "three")
    with pytest.raises(DataError, match="empty that folder"):
        list(other.records)
