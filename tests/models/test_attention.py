"""Packed attention against plain transformers, sequence by sequence."""

import copy

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from llmtrain.data.pack import pack
from llmtrain.errors import InitError
from llmtrain.models import causal
from llmtrain.models.attention import DECODING, PACKED, blocks, decoding


def plain(model):
    """The same weights with the attention of transformers."""
    other = copy.deepcopy(model)
    other.set_attn_implementation("eager")
    return other


def alone(model, sequences):
    """[N, V] logits of each sequence in a forward of its own, by plain transformers."""
    return torch.cat([model(torch.tensor([ids]), use_cache=False).logits[0] for ids in sequences])


def packed_logits(model, sequences):
    row = pack(sequences)
    return causal.logits_at(model, causal.hidden(model, row), torch.arange(len(row.ids)))


def test_f8_packed_equals_alone_with_gradients(model, sequences):
    reference = plain(model)
    weights = torch.randn(sum(map(len, sequences)), 61, generator=torch.Generator().manual_seed(0))
    ours, theirs = packed_logits(model, sequences), alone(reference, sequences)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    for mine, other in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-4, rtol=1e-4)


def test_f8_grouped_query_heads():
    config = LlamaConfig(
        vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, attn_implementation=PACKED,
    )  # fmt: skip
    model = causal.prepare(LlamaForCausalLM(config), torch.device("cpu"), torch.float32)
    sequences = [[1, 2, 3, 4, 5], [6, 7], [8, 9, 10, 11]]
    torch.testing.assert_close(packed_logits(model, sequences), alone(plain(model), sequences), atol=1e-5, rtol=0)


def test_blocks_put_every_token_back_in_its_place():
    layout = blocks(torch.tensor([0, 9, 12, 12, 42, 50, 51]))  # the third sequence is empty
    slots = torch.cat(layout.take)
    assert torch.equal(slots[layout.back], torch.arange(51))
    assert len(slots) == sum(rows * length for rows, length in layout.shapes)
    assert sum(rows for rows, _ in layout.shapes) == 5
    assert len(slots) < 51 / 0.7  # a sequence fills at least 0.7 of its slots


def test_decoding_switches_and_returns(model):
    with decoding(model):
        assert model.config._attn_implementation == DECODING
    assert model.config._attn_implementation == PACKED
    with pytest.raises(RuntimeError), decoding(model):
        raise RuntimeError
    assert model.config._attn_implementation == PACKED


def test_a_window_shorter_than_the_row_is_refused():
    config = MistralConfig(
        vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=4, sliding_window=4, attn_implementation=PACKED,
    )  # fmt: skip
    model = causal.prepare(MistralForCausalLM(config), torch.device("cpu"), torch.float32)
    short = [[1, 2, 3, 4], [5, 6]]
    torch.testing.assert_close(packed_logits(model, short), alone(plain(model), short), atol=1e-5, rtol=0)
    with pytest.raises(InitError, match="window of 4 tokens"):
        packed_logits(model, [[1, 2, 3, 4, 5]])


def test_filling_of_the_blocks_is_counted():
    """Lengths 5 and 4 stand in one block (4 is at least .7 of 5), 2 and 2 in the next, 1 alone."""
    assert blocks(torch.tensor([0, 4, 6, 11, 12, 14])).filled == 1
    assert blocks(torch.tensor([0, 3, 6])).filled == 0
