import logging

import pytest

from llmtrain.data import sources
from llmtrain.data.records import Kind, Message, Prompt, Text
from llmtrain.errors import DataError

GOOD = {"prompt": "q", "chosen": "c", "rejected": "r"}


def test_files_folders_and_order(write, tmp_path):
    write("d/b.txt", "second")
    write("d/a.jsonl", [{"text": "first"}])
    third = write("c.csv", "text\nthird\n")
    source = sources.read([str(tmp_path / "d"), third], Kind.text)
    assert list(source.records) == [Text("first"), Text("second"), Text("third")]
    assert list(source.records) == [Text("first"), Text("second"), Text("third")]  # again
    assert source.counts == {"records": 3, "skipped": 0}
    assert Text("third") in source.records


def test_digest_is_of_the_content_not_of_the_file(write):
    one = sources.read([write("a.jsonl", [GOOD])], Kind.ranking)
    same = sources.read([write("b.json.gz", [GOOD])], Kind.ranking)
    other = sources.read([write("c.jsonl", [{**GOOD, "rejected": "x"}])], Kind.ranking)
    assert one.digest == same.digest != other.digest
    assert sources.gather(one.records, "memory").digest == one.digest


def test_two_texts_differ_from_one_joined(write):
    two = sources.read([write("a.jsonl", [{"text": "ab"}, {"text": "c"}])], Kind.text)
    other = sources.read([write("b.jsonl", [{"text": "a"}, {"text": "bc"}])], Kind.text)
    assert two.digest != other.digest


def test_unrecognised_shows_the_row_and_what_is_wanted(write):
    path = write("a.jsonl", [{"question": "\x1b[31mq", "reply": "a"}])
    with pytest.raises(DataError) as error:
        sources.read([path], Kind.chat)
    message = str(error.value)
    assert message.startswith(f"{path}:1: ")
    for part in ("question, reply", "\\x1b[31mq", "messages", "instruction + output"):
        assert part in message
    assert "\x1b" not in message


def test_unrecognised_is_refused_even_when_bad_rows_are_skipped(write):
    with pytest.raises(DataError, match="no known format"):
        sources.read(
            [write("a.jsonl", [{"q": 1}, {"q": 2}]), write("b.jsonl", [GOOD])], Kind.ranking, on_bad_row="skip"
        )


BAD = [
    '{"prompt": "q", "chosen": "c"',  # broken, cut
    '{"prompt": "q", "chosen": "c", "rejected": "\\ud800"}',
    b'{"prompt": "q", "chosen": "c", "rejected": "\xff"}',
    '{"prompt": "q", "chosen": "c", "rejected": "\\u0000"}',
    '{"prompt": "q", "chosen": "c", "rejected": null}',
    '{"prompt": "q", "chosen": "c", "rejected": 3}',
    '{"prompt": "q", "chosen": "c", "rejected": ""}',
    '{"prompt": "q", "chosen": "c"}',
    '{"prompt": "q", "chosen": "c", "rejected": "c"}',
    '{"prompt": "q", "chosen": "c", "rejected": "r", "chosen": "d"}',
    "3",
    '["q"]',
    "null",
]


@pytest.mark.parametrize("bad", BAD)
def test_bad_row_fails_with_its_place_or_is_counted(write, caplog, bad):
    raw = bad if isinstance(bad, bytes) else bad.encode()
    good = b'{"prompt": "q", "chosen": "c", "rejected": "r"}'
    path = write("a.jsonl", good + b"\n" + raw + b"\n" + good)
    with pytest.raises(DataError) as error:
        sources.read([path], Kind.ranking)
    assert str(error.value).startswith(f"{path}:2: ")
    assert "on_bad_row=skip" in str(error.value)
    assert "\n" not in str(error.value)
    with caplog.at_level(logging.WARNING):
        source = sources.read([path], Kind.ranking, on_bad_row="skip")
    assert source.counts == {"records": 2, "skipped": 1}
    assert sum(source.skipped.values()) == 1
    assert f"{path}:2: " in caplog.text


@pytest.mark.parametrize("name, content", [("a.txt", ""), ("a.txt", " \n"), ("a.jsonl", ""), ("a.csv", "text\n")])
def test_empty_file(write, name, content):
    path, good = write(name, content), write("good.txt", "x")
    with pytest.raises(DataError, match=rf"{name}.*(empty|no rows)"):
        sources.read([good, path], Kind.text)
    assert sources.read([good, path], Kind.text, on_bad_row="skip").counts == {"records": 1, "skipped": 1}
    with pytest.raises(DataError, match="no usable row"):
        sources.read([path], Kind.text, on_bad_row="skip")


def test_a_broken_file_is_never_skipped(write):
    with pytest.raises(DataError, match=r"a\.json"):
        sources.read([write("a.json", '[{"text": "x"}, {"te')], Kind.text, on_bad_row="skip")


def test_limit_counts_records_over_files(write):
    paths = [write("a.jsonl", [{"text": "1"}, {"text": "2"}]), write("b.jsonl", [{"text": "3"}, {"text": "4"}])]
    assert [r.text for r in sources.read(paths, Kind.text, limit=3).records] == ["1", "2", "3"]


def test_text_column(write):
    path = write("a.csv", "body,text\nb,t\n")
    assert list(sources.read([path], Kind.text, text_column="body").records) == [Text("b")]
    with pytest.raises(DataError, match="does nothing here"):
        sources.read([path], Kind.chat, text_column="body")
    with pytest.raises(DataError, match="no known format"):
        sources.read([path], Kind.text, text_column="nope")


def test_split_is_for_the_hub_only(write):
    with pytest.raises(DataError, match="data.split"):
        sources.read([write("a.txt", "x")], Kind.text, split="test")


def test_no_path():
    with pytest.raises(DataError, match="data.path is empty"):
        sources.read([], Kind.text)


def test_file_that_changes_between_passes(write):
    source = sources.read([write("a.jsonl", [{"text": "1"}, {"text": "2"}])], Kind.text)
    write("a.jsonl", [{"text": "1"}, {"text": "3"}])
    with pytest.raises(DataError, match="changed"):
        list(source.records)


def test_hub(monkeypatch):
    import datasets

    asked = []

    def fake(name, configuration, split, revision, streaming):
        asked.append((name, configuration, split, revision, streaming))
        return datasets.Dataset.from_list([{"prompt": "q", "id": 1}])

    monkeypatch.setattr(datasets, "load_dataset", fake)
    source = sources.read(["hub:org/name@abc"], Kind.prompt, split="test")
    assert list(source.records) == [Prompt((Message("user", "q"),), {"id": 1})]
    assert asked == [("org/name", None, "test", "abc", False)]
    sources.read(["hub:org/name:en@abc"], Kind.prompt, limit=1)
    assert asked[1:] == [("org/name", "en", "train", "abc", True)]


def test_hub_that_cannot_be_reached(monkeypatch):
    import datasets

    def fake(*_, **__):
        raise ConnectionError("offline")

    monkeypatch.setattr(datasets, "load_dataset", fake)
    with pytest.raises(DataError, match="hub:org/name.*offline.*hub:org/name:CONFIGURATION"):
        sources.read(["hub:org/name"], Kind.text)
