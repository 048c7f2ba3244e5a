"""Text that comes token by token is the text of all tokens, and never half a character."""

import pytest

from llmtrain.text.plain import encode
from llmtrain.text.streaming import Pieces, decoded

TEXTS = ["hello world", "é à ü", "日本語 🙂 👩‍👩‍👧 end", "a\ufffdb", "\n\n  two\n", ""]


def told(tokenizer, ids):
    pieces = Pieces(tokenizer)
    return [*(pieces.take(token) for token in ids), pieces.rest()]


@pytest.mark.parametrize("text", TEXTS)
def test_the_pieces_joined_are_the_text(bpe, text):
    assert "".join(told(bpe, encode(bpe, [text])[0])) == text


def test_a_character_comes_whole_with_its_last_byte(bpe):
    ids = encode(bpe, ["🙂!"])[0]
    assert len(ids) == 5  # four bytes that the corpus never joined
    assert told(bpe, ids) == ["", "", "", "🙂", "!", ""]


def test_bytes_that_never_become_a_character_are_told_once_that_is_sure(bpe):
    broken = [*encode(bpe, ["🙂"])[0][:2], *encode(bpe, ["a"])[0]]
    found = told(bpe, broken)
    assert found[:2] == ["", ""]
    assert "".join(found) == decoded(bpe, broken)
    assert "".join(found).endswith("a")


def test_what_is_incomplete_at_the_end_is_told_as_it_stands(bpe):
    half = encode(bpe, ["x🙂"])[0][:-1]
    assert told(bpe, half)[0] == "x"
    assert "".join(told(bpe, half)) == decoded(bpe, half)


def test_a_control_token_stays_visible(bpe):
    assert "".join(told(bpe, [3, *encode(bpe, ["hi"])[0]])) == "<|user|>hi"
