"""Models of both architectures, small enough to be built in milliseconds."""

import pytest

from llmtrain.models import causal

SMALL = dict(
    vocab_size=61, layers=2, width=32, heads=4, ffn_width=48, context=64, tie_embeddings=False,
    embedding_std=0.5, init_std=0.0, dropout=0.0, eos_id=1, pad_id=0,
)  # fmt: skip


@pytest.fixture(params=["llama", "gpt2"])
def architecture(request):
    return request.param


@pytest.fixture
def build(architecture):
    return lambda seed=0, **changes: causal.build(architecture, **(SMALL | changes), seed=seed)


@pytest.fixture
def model(build):
    return build()


@pytest.fixture
def sequences():
    """Lengths that make several blocks, one block of several sequences and a lone token."""
    return [[(7 * i + 3 * j) % 61 for j in range(n)] for i, n in enumerate([9, 3, 30, 8, 1, 28, 10])]
