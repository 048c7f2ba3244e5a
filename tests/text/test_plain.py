import pytest

from llmtrain.errors import DataError
from llmtrain.text import plain, tokenizers


def test_control_tokens_in_data_stay_text(bpe):
    for token in ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"):
        text = f"a {token} b"
        (ids,) = plain.encode(bpe, [text])
        assert not set(ids) & {0, 1, 2, 3, 4}
        assert bpe.decode(ids) == text


def test_controls_are_controls_where_asked(bpe):
    assert plain.encode(bpe, ["<|user|><|end|>"], controls=True) == [[3, 1]]


def test_nothing_in_nothing_out(bpe):
    assert plain.encode(bpe, []) == []
    assert plain.encode(bpe, [""]) == [[]]


def test_unknown_character_is_named():
    tokenizer = tokenizers.train_char(["abc d"])
    with pytest.raises(DataError, match=r"'\\xe9' \(U\+00E9\)"):
        plain.encode(tokenizer, ["abc", "cab é d"])


def test_unknown_token_written_in_the_data_is_no_unknown_token():
    tokenizer = tokenizers.train_char(["<|unknown|>"])
    (ids,) = plain.encode(tokenizer, ["<|unknown|>"])
    assert len(ids) == len("<|unknown|>")


def test_bos_is_what_the_tokenizer_itself_puts_first(bpe):
    assert plain.bos(bpe) == []
    from tokenizers.processors import TemplateProcessing

    own = tokenizers.train_bpe(["hello"], 261)
    own.bos_token = "<|system|>"
    own.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|system|> $A", special_tokens=[("<|system|>", 2)]
    )
    assert plain.bos(own) == [2]
