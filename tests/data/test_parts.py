"""Long texts in parts: the same ids, bytes, digest and tokenizer as the whole, in bounded memory."""

import io
import random
from collections import Counter

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from llmtrain.data import cache, encode, parts, sources
from llmtrain.data.records import Kind, Text
from llmtrain.text import tokenizers

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def llama3():
    """Byte-level, split as Llama 3 and Qwen split."""
    backend = Tokenizer(models.BPE({c: n for n, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    pattern = pre_tokenizers.Split(Regex(LLAMA3), "isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([pattern, pre_tokenizers.ByteLevel(False, use_regex=False)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="!")


def text(size: int) -> str:
    """Words, punctuation, numbers and every kind of white space, at random."""
    rng = random.Random(size)
    pieces = [
        "why",
        " is",
        "it",
        "'s",
        " 12",
        "3",
        ".",
        "?!",
        "\n",
        "\n",
        "\n\n",
        " ",
        "  ",
        "\t",
        "\r",
        "é",
        "漢",
        " \n ",
    ]
    return "so" + "".join(rng.choices(pieces, k=size)) + "end"


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(parts, "PART", 50)
    monkeypatch.setattr(parts, "HARD", 400)


@pytest.fixture
def char():
    return tokenizers.train_char([text(2000)])


def test_parts_are_the_whole_and_bounded(short):
    whole = text(3000)
    found = list(parts.parts(io.StringIO(whole, newline="").read))
    assert "".join(part for part, _ in found) == whole
    assert [more for _, more in found] == [True] * (len(found) - 1) + [False]
    assert len(found) > 30
    assert all(len(part) < 400 for part, _ in found)


@pytest.mark.parametrize("whole", ["", "x", "a\n" * 500, "x" * 1000, " " * 1000, "a " * 500])
def test_no_text_hangs_or_loses_a_character(short, whole):
    found = list(parts.parts(io.StringIO(whole, newline="").read))
    assert "".join(part for part, _ in found) == whole
    assert all(part for part, _ in found) or not whole


@pytest.mark.parametrize("whole", [text(3000), "a word " * 500, "one line.\n" * 300])
def test_the_same_ids_and_bytes_as_the_whole(short, monkeypatch, bpe, char, whole, tmp_path):
    for number, tokenizer in enumerate([bpe, tokenizers.train_char([whole + "why?"]), llama3()]):
        tables = []
        for size in (50, 10**9):
            monkeypatch.setattr(parts, "PART", size)
            source = sources.gather([part for t in (whole, "why?") for part in parts.split(Text(t))], "texts")
            tables.append(cache.tokenised(source, Kind.text, tokenizer, 8, tmp_path / f"{number}-{size}"))
        cut, one = tables
        assert len(cut) == len(one) == 2
        for name in ("ids", "bytes", "row"):
            for row in range(2):
                assert cut.column(name)[row].tolist() == one.column(name)[row].tolist(), (number, name)


def test_a_part_is_not_cut_again(short):
    for part in parts.split(Text(text(3000))):
        assert list(parts.split(part)) == [part]


@pytest.mark.parametrize("train", [lambda t: tokenizers.train_bpe(t, 300), tokenizers.train_char])
def test_the_same_tokenizer_from_parts(short, train):
    whole = text(5000)
    pieces = [part.text for part in parts.split(Text(whole))]
    assert tokenizers.digest(train(pieces)) == tokenizers.digest(train([whole]))


def test_digest_and_count_are_of_documents(short, write):
    whole = text(3000).replace("\r", "")
    one, same = write("a.txt", whole), write("b.jsonl", [{"text": whole}])
    found = [sources.read([path], Kind.text) for path in (one, same)]
    assert found[0].digest == found[1].digest
    assert found[0].counts == {"records": 1, "skipped": 0}
    assert sources.read([one, same], Kind.text, limit=1).digest == found[0].digest
    two = sources.read([write("c.jsonl", [{"text": whole[:1000]}, {"text": whole[1000:]}])], Kind.text)
    assert two.digest != found[0].digest


def test_a_fault_at_the_end_is_one_of_the_whole_document(short, write):
    path, good = write("a.txt", text(3000) + "\0"), write("b.txt", "x")
    source = sources.read([path, good], Kind.text, on_bad_row="skip")
    assert list(source.records) == [Text("x")]
    assert source.counts == {"records": 1, "skipped": 1}


def test_batches_are_bounded_by_characters(monkeypatch):
    monkeypatch.setattr(encode, "CHARACTERS", 100)
    sizes = [10] * 15 + [300] + [60, 60]
    found = [[len(t.text) for t in batch] for batch in encode.batches(Text("x" * n) for n in sizes)]
    assert found == [[10] * 10, [10] * 5, [300], [60], [60]]


def test_a_short_text_stays_one_row(bpe):
    (row,) = encode.rows([Text("hello")], Kind.text, bpe, 8, Counter())
    assert encode.OPEN not in row
