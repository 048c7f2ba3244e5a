import json
import os
import random
import signal
import threading
import time

import pytest
from transformers import AutoTokenizer

from llmtrain.errors import ConfigError, DataError, InitError, Interrupted
from llmtrain.run.signals import StopSignal
from llmtrain.text import tokenizers

CORPUS = ["The cat sat on the mat.\n", "hello world, hello there! éà"] * 4


def test_special_tokens_have_the_ids_of_the_contract(bpe):
    names = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    assert bpe.convert_tokens_to_ids(names) == [0, 1, 2, 3, 4]
    assert (bpe.pad_token_id, bpe.eos_token_id, bpe.unk_token_id) == (0, 1, None)


@pytest.mark.parametrize("text", ["The cat", "tab\tand\n\nlines ", "漢字 \U0001f600", "\ufeff x", " two  spaces"])
def test_bpe_gives_any_text_back(bpe, text):
    assert bpe.decode(bpe(text)["input_ids"]) == text


def test_training_twice_gives_the_same_tokenizer():
    first, second = (tokenizers.train_bpe(iter(CORPUS), 300) for _ in range(2))
    assert tokenizers.digest(first) == tokenizers.digest(second)


def test_other_text_or_template_gives_another_digest():
    one, other = tokenizers.train_bpe(CORPUS, 300), tokenizers.train_bpe(["something else entirely"] * 3, 300)
    assert tokenizers.digest(one) != tokenizers.digest(other)
    before = tokenizers.digest(one)
    one.chat_template += " "
    assert tokenizers.digest(one) != before


def test_vocabulary_too_small_for_the_bytes():
    with pytest.raises(ConfigError, match=r"vocab_size=260 is below 261"):
        tokenizers.train_bpe(CORPUS, 260)
    assert len(tokenizers.train_bpe(CORPUS, 261)) == 261


def test_char_has_one_token_per_character():
    tokenizer = tokenizers.train_char(["ba\n", "c a"])
    assert tokenizer("a\n cb")["input_ids"] == [8, 6, 7, 10, 9]  # 6 specials, then \n, space, a, b, c
    assert tokenizer.decode([8, 6, 7, 10, 9]) == "a\n cb"
    assert len(tokenizer) == 11


@pytest.mark.parametrize("train", [lambda: tokenizers.train_bpe(CORPUS, 300), lambda: tokenizers.train_char(CORPUS)])
def test_saved_and_loaded_is_the_same(tmp_path, train):
    tokenizer = train()
    tokenizers.save(tokenizer, tmp_path)
    loaded = tokenizers.load(str(tmp_path))
    assert tokenizers.digest(loaded) == tokenizers.digest(tokenizer)
    elsewhere = AutoTokenizer.from_pretrained(tmp_path)
    assert elsewhere("The cat")["input_ids"] == tokenizer("The cat")["input_ids"]
    assert elsewhere.chat_template == tokenizer.chat_template


def test_load_refuses_a_directory_without_a_tokenizer(tmp_path):
    with pytest.raises(InitError, match="no tokenizer"):
        tokenizers.load(str(tmp_path))


def test_load_refuses_a_tokenizer_without_end(tmp_path, bpe):
    tokenizers.save(bpe, tmp_path)
    path = tmp_path / "tokenizer_config.json"
    config = json.loads(path.read_text())
    del config["eos_token"]
    path.write_text(json.dumps(config))
    with pytest.raises(InitError, match="eos_token"):
        tokenizers.load(str(tmp_path))


def test_load_offline_names_what_was_asked(monkeypatch):
    def offline(name, **_):
        raise OSError("offline")

    monkeypatch.setattr(tokenizers, "snapshot_download", offline)
    with pytest.raises(InitError, match="no/such"):
        tokenizers.load("no/such")


def test_a_signal_does_not_wait_for_the_end_of_training():
    """Python runs no handler while Rust has the main thread, and this training takes seconds."""
    rng = random.Random(0)
    words = " ".join("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=12)) for _ in range(40_000))
    began, timer = time.monotonic(), threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
    with StopSignal(early="nothing yet"), pytest.raises(Interrupted, match="nothing yet"):
        timer.start()
        tokenizers.train_bpe([words], 20_000)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("train", [lambda texts: tokenizers.train_bpe(texts, 300), tokenizers.train_char])
def test_a_fault_of_the_texts_comes_through(train):
    def texts():
        yield "x"
        raise DataError("changed")

    with pytest.raises(DataError, match="changed"):
        train(texts())
