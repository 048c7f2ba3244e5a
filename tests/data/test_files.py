"""Reliability R13: every kind of damaged file, made here: one line with the place, or a row that can be counted."""

import gzip
import os
import tracemalloc

import pytest

from llmtrain.data import files
from llmtrain.data.validate import BadRow
from llmtrain.errors import DataError


def read(path):
    return [row for _, row in files.rows(files.expand(path)[0])]


ROWS = [{"text": "one"}, {"text": 'two\n{["é'}]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.json.gz", "A.JSONL"])
def test_json_forms(write, name):
    assert read(write(name, ROWS)) == ROWS


def test_json_lines_in_a_json_file(write):
    assert read(write("a.json", '{"text": "one"}\n{"text": "two"}\n')) == [{"text": "one"}, {"text": "two"}]


def test_csv(write):
    path = write("a.csv", 'text,n\n"one\nline",1\r\n"say ""x""",2\n')
    assert read(path) == [{"text": "one\nline", "n": "1"}, {"text": 'say "x"', "n": "2"}]


def test_parquet_and_its_damage(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS * 500), path, write_page_checksum=True)
    assert read(str(path)) == ROWS * 500
    whole = path.read_bytes()
    for damaged in (whole[:-20], whole[: len(whole) // 2], whole[:30] + bytes([whole[30] ^ 1]) + whole[31:], b""):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"a\.parquet"):
            read(str(path))


def test_text_is_one_document_with_plain_line_ends(write):
    assert read(write("a.txt", b"\xef\xbb\xbfone\r\ntwo\n")) == [{"text": "one\ntwo\n"}]


def test_byte_order_mark_carriage_returns_and_blank_lines(write):
    assert read(write("a.jsonl", b'\xef\xbb\xbf{"text": "one"}\r\n\r\n{"text": "two"}')) == [
        {"text": "one"},
        {"text": "two"},
    ]


def test_places_name_the_line(write):
    lines = list(files.rows(files.expand(write("a.jsonl", '{"a": 1}\n\n{"a": 2}\n'))[0]))
    assert [place.rsplit(":", 1)[1] for place, _ in lines] == ["1", "3"]
    items = list(files.rows(files.expand(write("a.json", '[\n{"a": 1},\n\n{"a":\n 2}, {"a": 3}]'))[0]))
    assert [place.rsplit(":", 1)[1] for place, _ in items] == ["2", "4", "5"]


@pytest.mark.parametrize("line, reason", [
    (b'{"text": "a"', "broken JSON"), (b"{text: 1}", "broken JSON"), (b'{"a": 1, "a": 2}', "duplicate key"),
    (b'{"a": NaN}', "not JSON"), (b'{"a": -Infinity}', "not JSON"), (b"[" * 100_000, "broken JSON"),
    (b'{"text": "a\0"}', "broken JSON"), (b'{"a": ' + b"1" * 5000 + b"}", "broken JSON"),
    (b'{"a": 1} x', "broken JSON"),
])  # fmt: skip
def test_broken_line_leaves_the_others(write, line, reason):
    good = b'{"text": "ok"}'
    found = read(write("a.jsonl", good + b"\n" + line + b"\n" + good))
    assert found[0] == found[2] == {"text": "ok"}
    assert isinstance(found[1], BadRow)
    assert reason in str(found[1])


@pytest.mark.parametrize("body", ['[{"a": 1}', '[{"a": 1},]', '[{"a": 1} {"a": 2}]', '[{"a": 1}] x', '[{"a": 1', "[,1]",
                                  '["x', "[" * 100_000])  # fmt: skip
def test_broken_list_is_an_error_with_the_line(write, body):
    with pytest.raises(DataError, match=r"a\.json:1: "):
        read(write("a.json", body))


@pytest.mark.parametrize("body", ["", "\n \n", "[]", " [ ] "])
def test_empty_json(write, body):
    (row,) = read(write("a.json", body))
    assert isinstance(row, BadRow)
    assert "no rows" in str(row)


def test_bytes_that_are_no_utf8_become_lone_surrogates(write):
    (row,) = read(write("a.jsonl", b'{"text": "\xff\xfe"}'))
    with pytest.raises(UnicodeEncodeError):
        row["text"].encode()


@pytest.mark.parametrize("cut", [5, 20, -8, -1])
def test_truncated_gzip(write, cut):
    whole = gzip.compress(b'{"text": "one"}\n' * 100)
    path = write("a.jsonl", "")
    with open(path + ".gz", "wb") as handle:  # noqa: PTH123
        handle.write(whole[:cut])
    with pytest.raises(DataError, match="damaged"):
        read(path + ".gz")


def test_fake_gzip(tmp_path):
    (tmp_path / "a.jsonl.gz").write_text('{"text": "one"}')
    with pytest.raises(DataError, match="damaged"):
        read(str(tmp_path / "a.jsonl.gz"))


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.json.gz"])
def test_gzip_bomb_is_not_swallowed(write, monkeypatch, name):
    monkeypatch.setattr(files, "MAX_ROW", 2**20)
    path = write(name, b'["' + b"x" * 50 * 2**20)
    tracemalloc.start()
    with pytest.raises(DataError):
        read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * 2**20


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_a_long_document_is_never_held_whole(write, name):
    path, size = write(name, b"one more line of text\n" * 2**20), 0
    tracemalloc.start()
    for row in (row for _, row in files.rows(files.expand(path)[0])):
        size += len(row["text"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size == 22 * 2**20
    assert peak < 8 * 2**20


def test_csv_with_missing_values_and_double_header(write):
    found = read(write("a.csv", "a,b\n1\n1,2\n1,2,3\n"))
    assert [isinstance(row, BadRow) for row in found] == [True, False, True]
    with pytest.raises(DataError, match="twice"):
        read(write("b.csv", "a,a\n1,2\n"))
    with pytest.raises(DataError, match="damaged"):
        read(write("c.csv", 'a\n"open'))


def test_folder_in_sorted_order_without_hidden_or_foreign_files(write, tmp_path):
    for name in ("d/b.txt", "d/a/c.jsonl", "d/.hidden/x.txt", "d/.y.txt", "d/image.png", "d/e.txt.gz"):
        write(name, "x")
    found = files.expand(str(tmp_path / "d"))
    assert [str(p.relative_to(tmp_path / "d")) for p in found] == ["a/c.jsonl", "b.txt", "e.txt.gz"]


def test_what_is_no_file(tmp_path, write):
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "loop.txt").symlink_to(tmp_path / "loop.txt")
    cases = {
        "empty": "holds no file",
        "pipe.txt": "not a regular file",
        "loop.txt": "exist",
        "no.txt": "does not exist",
    }
    for name, reason in cases.items():
        with pytest.raises(DataError, match=reason):
            files.expand(str(tmp_path / name))
    with pytest.raises(DataError, match="unknown file type '.docx'"):
        files.expand(write("a.docx", "x"))


def test_long_list_is_read_through_a_small_window(write, monkeypatch):
    monkeypatch.setattr(files, "CHUNK", 16)
    rows = [{"text": "x" * (n % 50), "n": n, "deep": [{"a": [n]}]} for n in range(200)]
    assert read(write("a.json", rows)) == rows


def test_a_bad_item_of_a_list_is_a_row_that_can_be_skipped(write):
    items = ['{"a": 1}', '{"a": 1, "a": 2}', '{"a": NaN, "b": [1]}', '{"a": ' + "9" * 5000 + "}", '{"a": 4}']
    rows = list(files.rows(files.expand(write("a.json", "[" + ",\n".join(items) + "]"))[0]))
    assert [isinstance(row, BadRow) for _, row in rows] == [False, True, True, True, False]
    assert [place.rpartition(":")[2] for place, _ in rows] == ["1", "2", "3", "4", "5"]


def test_an_item_beyond_the_limit(write, monkeypatch):
    monkeypatch.setattr(files, "MAX_ROW", 50)
    assert read(write("a.json", '[{"a": "' + "x" * 30 + '"}]')) == [{"a": "x" * 30}]
    with pytest.raises(DataError, match="an item is too long: more than 50"):
        read(write("b.json", '[{"a": "' + "x" * 60 + '"}]'))


@pytest.mark.parametrize("body", ['{\n "text": "x"\n}', '{"data": [\n{"text": "x"}]}', '{\n"a": 1}\n{\n"a": 2}'])
def test_an_object_over_several_lines_is_called_that(write, body):
    with pytest.raises(DataError, match=r"a\.json: holds an object over several lines.*put \["):
        read(write("a.json", body))


def test_an_object_on_one_line_is_a_row(write):
    assert read(write("a.json", '\n{"text": "x"}\n')) == [{"text": "x"}]
    assert [isinstance(row, BadRow) for row in read(write("b.json", '{"text": \n{"text": "x"}'))] == [True, False]


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.csv", "a.json"])
@pytest.mark.parametrize("raw, said", [
    (gzip.compress(b'{"text": "x"}'), r"compressed by gzip; let its name end in \.gz"),
    ('{"text": "x"}'.encode("utf-16"), "UTF-16; convert it: iconv"),
    (b"PAR1....PAR1", r"parquet; let its name end in \.parquet"),
])  # fmt: skip
def test_another_form_than_the_name_says(write, name, raw, said):
    with pytest.raises(DataError, match=said):
        read(write(name, raw))
    if not raw.startswith(b"\x1f"):
        with pytest.raises(DataError, match=said):
            read(write(f"{name}.gz", raw))


def test_blank_lines_of_csv_are_no_rows(write):
    assert read(write("a.csv", "a,b\n1,2\n\n3,4\n\n")) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


def test_a_parquet_column_that_python_cannot_hold_is_left_out(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"when": pa.array([2**45], pa.timestamp("s")), "text": ["x"]}), path)
    assert read(str(path)) == [{"text": "x"}]


@pytest.mark.parametrize("name", ["x" * 300 + ".jsonl", "a\0b.jsonl"])
def test_a_name_that_no_file_can_have(name):
    with pytest.raises(DataError) as error:
        files.expand(name)
    assert len(str(error.value)) < 300
