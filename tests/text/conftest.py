"""Tokenizers small enough to be trained in each session."""

import pytest

from llmtrain.text import tokenizers

CORPUS = ["The cat sat on the mat.\nIt is, and it is not: because why?", "hello world, hello there! 123 éà"] * 4


@pytest.fixture(scope="session")
def bpe():
    return tokenizers.train_bpe(CORPUS, 320)
