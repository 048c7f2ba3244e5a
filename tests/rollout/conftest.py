"""A small model per architecture, and prompts of several lengths."""

import pytest

from llmtrain.models import causal


@pytest.fixture(params=["llama", "gpt2"])
def model(request):
    return causal.build(
        request.param, vocab_size=40, layers=2, width=32, heads=4, ffn_width=48, context=64, tie_embeddings=False,
        embedding_std=0.7, init_std=0.0, dropout=0.0, eos_id=1, pad_id=0, seed=0,
    )  # fmt: skip


@pytest.fixture
def prompts():
    return [[(5 * i + 3 * j) % 38 + 2 for j in range(n)] for i, n in enumerate([4, 9, 1, 7, 4, 12, 2, 9])]
