import logging
import os
import threading
import time
from collections import Counter

import numpy as np
import pytest

from llmtrain.data import cache, encode
from llmtrain.data.records import Chat, Kind, Message, Ranking, Text
from llmtrain.data.sources import gather
from llmtrain.errors import DataError
from llmtrain.text import tokenizers

TEXTS = gather([Text("hello"), Text("why is it so?"), Text("é")], "texts")


def only(folder):
    (path,) = folder.iterdir()
    return path


def test_columns_hold_what_was_encoded(bpe, tmp_path):
    record = Ranking((Message("user", "why?"),), ("good", "bad answer"), (1.0, 2.5))
    table = cache.tokenised(gather([record, record], "r"), Kind.ranking, bpe, 100, tmp_path)
    (row, _) = encode.rows([record, record], Kind.ranking, bpe, 100, Counter())
    assert len(table) == 2
    for name in ("prompt", "responses", "response_lengths", "ranks"):
        assert table.column(name)[1].tolist() == row[name]
    assert table.column("ranks")[0].dtype == np.float64
    assert table.lengths("responses").tolist() == [len(row["responses"])] * 2
    assert table.column("row")[1].tolist() == [1]
    with pytest.raises(IndexError):
        table.column("row")[2]


def test_mask_is_boolean(bpe, tmp_path):
    chat = Chat((Message("user", "why?"), Message("assistant", "because.")))
    table = cache.tokenised(gather([chat], "c"), Kind.chat, bpe, 100, tmp_path)
    assert table.column("mask").values.dtype == bool
    assert table.column("mask")[0].tolist() == encode_mask(bpe, chat)


def encode_mask(bpe, chat):
    answer = len(bpe(chat.messages[1].content)["input_ids"]) + 1
    return [False] * (len(bpe(chat.messages[0].content)["input_ids"]) + 3) + [True] * answer


def test_second_call_reads_what_the_first_wrote(bpe, tmp_path, monkeypatch):
    first = cache.tokenised(TEXTS, Kind.text, bpe, 8, tmp_path)
    monkeypatch.setattr(encode, "rows", lambda *_: pytest.fail("tokenised again"))
    second = cache.tokenised(TEXTS, Kind.text, bpe, 8, tmp_path)
    assert second.key == first.key
    assert [second.column("ids")[n].tolist() for n in range(3)] == [first.column("ids")[n].tolist() for n in range(3)]


def test_other_input_is_another_table(bpe, tmp_path):
    chats = gather([Chat((Message("user", "why?"), Message("assistant", "because.")))], "c")
    keys = {
        cache.tokenised(TEXTS, Kind.text, bpe, 8, tmp_path).key,
        cache.tokenised(gather([Text("hello")], "x"), Kind.text, bpe, 8, tmp_path).key,
        cache.tokenised(TEXTS, Kind.text, tokenizers.train_bpe(["other"], 270), 8, tmp_path).key,
        cache.tokenised(chats, Kind.chat, bpe, 100, tmp_path).key,
        cache.tokenised(chats, Kind.chat, bpe, 101, tmp_path).key,
    }
    assert len(keys) == 5


DAMAGE = {
    "flipped bit": lambda p: p.write_bytes(p.read_bytes()[:-1] + bytes([p.read_bytes()[-1] ^ 1])),
    "truncated": lambda p: p.write_bytes(p.read_bytes()[:-2]),
    "emptied": lambda p: p.write_bytes(b""),
    "deleted": lambda p: p.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["ids.values.npy", "ids.offsets.npy", "manifest.json"])
def test_damage_is_found_and_made_again(bpe, tmp_path, caplog, damage, name):
    first = cache.tokenised(TEXTS, Kind.text, bpe, 8, tmp_path)
    expected = [first.column("ids")[n].tolist() for n in range(3)]
    target = tmp_path / first.key / name
    copy = tmp_path / first.key / "copy"  # a new inode: the first table's memory maps stay whole
    copy.write_bytes(target.read_bytes())
    copy.rename(target)
    DAMAGE[damage](target)
    with caplog.at_level(logging.WARNING):
        again = cache.tokenised(TEXTS, Kind.text, bpe, 8, tmp_path)
    assert "made again" in caplog.text
    assert [again.column("ids")[n].tolist() for n in range(3)] == expected
    assert only(tmp_path).name == first.key


def test_two_at_once(bpe, tmp_path):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(cache.tokenised(TEXTS, Kind.text, bpe, 8, tmp_path)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len({table.key for table in found}) == 1
    assert only(tmp_path).name == found[0].key


def test_the_second_of_two_takes_the_first_ones_table(bpe, tmp_path, monkeypatch):
    build = cache._build

    def overtaken(folder, *rest):
        build(folder, *rest)
        monkeypatch.setattr(cache, "_build", build)
        cache.tokenised(TEXTS, Kind.text, bpe, 8, tmp_path)

    monkeypatch.setattr(cache, "_build", overtaken)
    table = cache.tokenised(TEXTS, Kind.text, bpe, 8, tmp_path)
    assert only(tmp_path).name == table.key


def test_failure_leaves_nothing_behind(bpe, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")
        yield

    monkeypatch.setattr(encode, "rows", full)
    with pytest.raises(DataError, match=f"data.cache={tmp_path}: .*No space"):
        cache.tokenised(TEXTS, Kind.text, bpe, 8, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_dropped_rows_are_counted_and_kept_in_the_table(bpe, tmp_path, caplog):
    answer = Message("assistant", "because. " * 9)
    short, long = (Chat((Message("user", text), answer)) for text in ("x", "why is it so? " * 9))
    source = gather([long, short], "chats")
    with caplog.at_level(logging.WARNING):
        cache.tokenised(source, Kind.chat, bpe, 12, tmp_path)
    table = cache.tokenised(source, Kind.chat, bpe, 12, tmp_path)
    assert (table.dropped, table.cut, len(table)) == ({encode.PROMPT_TOO_LONG: 1}, 1, 1)
    assert table.column("row")[0].tolist() == [1]
    assert "1 of 2 rows dropped" in caplog.text


def test_nothing_left_is_an_error(bpe, tmp_path):
    source = gather([Chat((Message("user", "why is it so?"), Message("assistant", "x")))], "chats")
    with pytest.raises(DataError, match=r"no row is left.*max_length=4"):
        cache.tokenised(source, Kind.chat, bpe, 4, tmp_path)


def test_files_are_readable_for_the_group(bpe, tmp_path):
    mask = os.umask(0o022)
    try:
        table = cache.tokenised(TEXTS, Kind.text, bpe, 8, tmp_path)
    finally:
        os.umask(mask)
    assert (tmp_path / table.key).stat().st_mode & 0o777 == 0o755
    assert (tmp_path / table.key / "ids.values.npy").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("place", ["/proc/x", "{tmp}/file/x"])
def test_a_folder_that_cannot_be_written_is_named(bpe, tmp_path, place):
    (tmp_path / "file").touch()
    folder = place.format(tmp=tmp_path)
    with pytest.raises(DataError, match=f"data.cache={folder}"):
        cache.tokenised(TEXTS, Kind.text, bpe, 8, folder)


def test_what_killed_processes_left_is_removed_when_it_is_old(bpe, tmp_path):
    for name, age in (("old", 2 * cache.ABANDONED), ("new", 60)):
        left = tmp_path / f".tmp-{name}"
        left.mkdir()
        os.utime(left, (time.time() - age,) * 2)
    cache.tokenised(TEXTS, Kind.text, bpe, 8, tmp_path)
    assert [p.name for p in tmp_path.glob(".tmp-*")] == [".tmp-new"]
