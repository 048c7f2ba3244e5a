"""Packed attention against plain transformers, sequence by sequence."""

import copy

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from llmtrain.data.pack import after, behind, pack
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


@pytest.mark.parametrize("k", [2, 4, 9])
def test_f8_answers_to_a_shared_prompt_equal_each_alone_with_gradients(model, sequences, k):
    """Every log-probability of an answer, the prompt of one token and the answer that is longer than it among them."""
    reference, prompts, answers = plain(model), [], []
    for i, prompt in enumerate([sequences[2], sequences[4], sequences[1], sequences[6]]):
        size = k if i < 3 else 1
        prompts += [prompt] * size
        answers += [[(11 * i + 5 * j + 3 * t) % 61 for t in range(1 + (7 * j + i) % 20)] for j in range(size)]
    row = behind(prompts, answers)
    assert len(row.ids) == sum(map(len, answers)) + len(sequences[2] + sequences[4] + sequences[1] + sequences[6])
    ours = causal.logprobs(model, row, after(row, [len(prompt) for prompt in prompts]))
    theirs = []
    for prompt, answer in zip(prompts, answers, strict=True):
        logp = reference(torch.tensor([prompt + answer]), use_cache=False).logits[0].log_softmax(-1)
        theirs.append(logp[range(len(prompt) - 1, len(prompt + answer) - 1), answer])
    torch.testing.assert_close(ours, torch.cat(theirs), atol=1e-5, rtol=0)
    weights = torch.randn(len(ours), generator=torch.Generator().manual_seed(0))
    (ours * weights).sum().backward()
    (torch.cat(theirs) * weights).sum().backward()
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
    slots = layout.take
    assert torch.equal(slots[layout.back], torch.arange(51))
    assert len(slots) == sum(rows * length for rows, length in layout.shapes)
    assert sum(rows for rows, _ in layout.shapes) == 5
    assert len(slots) < 51 / 0.7  # a sequence fills at least 0.7 of its slots


def test_blocks_lay_a_shared_prompt_out_in_front_of_each_answer():
    """Tokens 0 to 6 are a prompt of 4 and its first answer, 7 and 8 the second, 9 to 13 the third, 14 another text."""
    shared = torch.tensor([[0, 0], [0, 4], [0, 4], [9, 9]])
    layout = blocks(torch.tensor([0, 7, 9, 14, 15]), shared)
    taken = layout.take.split([rows * length for rows, length in layout.shapes])
    rows = [row for take, shape in zip(taken, layout.shapes, strict=True) for row in take.view(shape).tolist()]
    third, first = [0, 1, 2, 3, 9, 10, 11, 12, 13], [0, 1, 2, 3, 4, 5, 6, 0, 0]
    assert rows == [third, first, [0, 1, 2, 3, 7, 8], [14]]
    assert torch.equal(layout.take[layout.back], torch.arange(15))
    assert layout.back[:4].tolist() == [9, 10, 11, 12]  # the prompt's numbers are those of the answer that owns it


def test_sequences_of_one_length_are_not_laid_out_again(model):
    assert blocks(torch.tensor([0, 5, 10, 15])).as_is
    assert not blocks(torch.tensor([0, 5, 9, 14])).as_is  # filled
    assert not blocks(torch.tensor([0, 1, 3])).as_is  # two blocks, the longer first
    assert not blocks(torch.tensor([0, 5, 6]), torch.tensor([[0, 0], [0, 4]])).as_is  # a prompt that both have
    alike = [[1, 2, 3, 4, 5], [9, 8, 7, 6, 5], [3, 1, 4, 1, 5]]
    assert blocks(pack(alike).bounds, pack(alike).shared).as_is
    torch.testing.assert_close(packed_logits(model, alike), alone(plain(model), alike), atol=1e-5, rtol=0)


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
