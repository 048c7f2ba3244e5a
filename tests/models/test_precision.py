"""The format that matrices are multiplied in."""

import pytest
import torch

from llmtrain.data.pack import pack
from llmtrain.models import causal
from llmtrain.models.precision import narrowed


def test_narrowed_matrices_give_the_numbers_of_autocast_and_are_whole_again_behind(model):
    """Tied or not: an embedding that is the head, too, stays as it is, since it is looked up in float32."""
    row, before = pack([[3, 1, 4], [1, 5]]), {n: (p.data_ptr(), p.dtype) for n, p in model.named_parameters()}
    model.llmtrain_dtype = torch.bfloat16
    with torch.no_grad():
        cast = causal.logits_at(model, causal.hidden(model, row), torch.arange(5))
        with narrowed(model):
            kept = causal.logits_at(model, causal.hidden(model, row), torch.arange(5))
            narrow = {n for n, p in model.named_parameters() if p.dtype == torch.bfloat16}
    assert torch.equal(cast, kept)
    assert any("mlp" in name for name in narrow) and not any("emb" in name or "wte" in name for name in narrow)
    with pytest.raises(KeyboardInterrupt), narrowed(model):
        raise KeyboardInterrupt
    assert {n: (p.data_ptr(), p.dtype) for n, p in model.named_parameters()} == before


def test_in_float32_nothing_is_narrowed(model):
    with narrowed(model):
        assert {p.dtype for p in model.parameters()} == {torch.float32}
