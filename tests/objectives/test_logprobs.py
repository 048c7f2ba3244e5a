import pytest
import torch
from torch.distributions import Categorical

from llmtrain.objectives.logprobs import entropy, position_ids, response_mask, sequence_sums, token_logprobs

LOGITS = torch.randn(3, 5, 11, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("temperature", [1.0, 0.7, 3.0])
def test_against_categorical(temperature):
    reference = Categorical(logits=LOGITS / temperature)
    ids = torch.arange(15).view(3, 5) % 11
    torch.testing.assert_close(token_logprobs(LOGITS, ids, temperature), reference.log_prob(ids))
    torch.testing.assert_close(entropy(LOGITS, temperature), reference.entropy())


def test_bfloat16_logits_are_normalised_in_float32():
    logits, ids = LOGITS.bfloat16(), torch.zeros(3, 5, dtype=torch.int64)
    got = token_logprobs(logits, ids)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), logits.double().log_softmax(-1)[..., 0], atol=1e-6, rtol=0)


def test_huge_logits_stay_finite():
    logits = torch.tensor([[1e4, -1e4, 0.0]])
    assert token_logprobs(logits, torch.tensor([1])) == -2e4
    assert entropy(logits) == 0


def test_f36_no_tokens():
    logits = torch.zeros(0, 11, requires_grad=True)
    token_logprobs(logits, torch.zeros(0, dtype=torch.int64)).sum().backward()
    assert logits.grad.shape == (0, 11)


def test_temperature_zero_has_no_logprob():
    with pytest.raises(AssertionError, match="temperature=0"):
        token_logprobs(LOGITS, torch.zeros(3, 5, dtype=torch.int64), 0.0)


def test_f4_more_columns_do_not_move_the_end():
    ids = torch.tensor([[7, 2, 9], [7, 8, 2]])
    mask, ended = response_mask(ids, 2)
    for pad in range(1, 8):
        wide, same = response_mask(torch.nn.functional.pad(ids, (0, pad), value=2), 2)
        assert torch.equal(wide[:, :3], mask) and not wide[:, 3:].any() and torch.equal(same, ended)


def test_f4_left_padding_does_not_move_positions():
    mask = torch.tensor([[True, True, True]])
    for pad in range(1, 8):
        assert position_ids(torch.nn.functional.pad(mask, (pad, 0)))[0, pad:].tolist() == [0, 1, 2]


def test_sequence_sums_of_any_order_with_an_empty_sequence():
    logp = torch.tensor([1.0, 2.0, 4.0, 8.0], requires_grad=True)
    sums = sequence_sums(logp, torch.tensor([2, 0, 2, 0]), 3)
    assert sums.tolist() == [10, 0, 5]
    sums[2].backward()
    assert logp.grad.tolist() == [1, 0, 1, 0]
