"""The files that users bring, as they are. Needs a folder of them: LLMTRAIN_DATA=FOLDER."""

import os
from pathlib import Path

import pytest

from llmtrain.data import cache
from llmtrain.data.records import Kind
from llmtrain.data.sources import read
from llmtrain.text import tokenizers

pytestmark = pytest.mark.skipif("LLMTRAIN_DATA" not in os.environ, reason="LLMTRAIN_DATA names no folder of real data")


def real(name, kind):
    path = Path(os.environ["LLMTRAIN_DATA"]) / name
    if not path.is_file():
        pytest.skip(f"{name} is not in LLMTRAIN_DATA")
    return read([str(path)], kind, on_bad_row="skip")


# numbers of records from the data sets' own descriptions; skipped: counted by hand in the file
@pytest.mark.parametrize("name, kind, total, skipped", [
    ("tinyshakespeare.txt", Kind.text, 1, 0),
    ("c4.jsonl", Kind.text, 300, 0),
    ("alpaca_en.json", Kind.chat, 800, 0),
    ("alpaca_en.json", Kind.text, 800, 0),
    ("alpaca_en.json", Kind.prompt, 800, 0),
    ("hh_harmless.jsonl.gz", Kind.ranking, 1700, 9),  # 4 empty answers, 5 with two assistant turns in a row
    ("hh_harmless.jsonl.gz", Kind.prompt, 1700, 9),
    ("preferences_sharegpt.json", Kind.ranking, 220, 0),
    ("preferences_sharegpt.json", Kind.prompt, 220, 0),
])  # fmt: skip
def test_recognised(name, kind, total, skipped):
    source = real(name, kind)
    assert source.counts == {"records": total - skipped, "skipped": skipped}


def test_tiny_shakespeare_is_kept_to_the_byte(tmp_path):
    source = real("tinyshakespeare.txt", Kind.text)
    text = "".join(part.text for part in source.records)
    assert text.encode() == (Path(os.environ["LLMTRAIN_DATA"]) / "tinyshakespeare.txt").read_bytes()
    tokenizer = tokenizers.train_char([text])
    assert len(tokenizer) == 65 + 6  # the 65 characters of char-rnn, and the specials
    table = cache.tokenised(source, Kind.text, tokenizer, 64, tmp_path)
    assert table.lengths("ids").tolist() == [len(text) + 1]


def test_bpe_gives_real_text_back():
    source = real("c4.jsonl", Kind.text)
    tokenizer = tokenizers.train_bpe((r.text for r in source.records), 1000)
    for record in source.records:
        assert tokenizer.decode(tokenizer(record.text)["input_ids"]) == record.text
