"""Log-probabilities in chunks against those of whole logits, and their gradients; in float64 the two are one."""

import pytest
import torch
from torch import Tensor

from llmtrain.objectives.linear import linear_logprobs, summed_nll
from llmtrain.objectives.logprobs import token_logprobs

M, D, V = 23, 7, 50
DRAWS = torch.Generator().manual_seed(0)
WEIGHTS = torch.randn(M, generator=DRAWS, dtype=torch.float64)


def parts(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    draws = torch.Generator().manual_seed(1)
    x, w = (torch.randn(n, D, generator=draws).to(dtype).requires_grad_() for n in (M, V))
    return x, w, torch.randint(0, V, (M,), generator=draws)


def gradients(loss: Tensor, x: Tensor, w: Tensor) -> list[Tensor]:
    return [loss.detach(), *torch.autograd.grad(loss, (x, w))]


@pytest.mark.parametrize("rows", [1, 5, 23, 100])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_chunks_change_nothing(rows, temperature):
    x, w, ids = parts(torch.float64)
    plain = token_logprobs(x @ w.t(), ids, temperature)
    mine = linear_logprobs(x, w, ids, rows, temperature)
    torch.testing.assert_close(mine, plain, rtol=1e-12, atol=1e-12)
    expected = gradients((plain * WEIGHTS).sum(), x, w)
    torch.testing.assert_close(gradients((mine * WEIGHTS).sum(), x, w), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rows", [1, 5, 23, 100])
def test_sum_has_its_gradients_beforehand(rows):
    x, w, ids = parts(torch.float64)
    expected = gradients(-token_logprobs(x @ w.t(), ids).sum() / 3, x, w)
    torch.testing.assert_close(gradients(summed_nll(x, w, ids, rows) / 3, x, w), expected, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        assert float(summed_nll(x, w, ids, rows)) == pytest.approx(3 * float(expected[0]), rel=1e-12)


def test_float32_is_as_near_as_rounding():
    x, w, ids = parts(torch.float32)
    plain, mine = token_logprobs(x @ w.t(), ids), linear_logprobs(x, w, ids, 4)
    torch.testing.assert_close(mine, plain, rtol=1e-6, atol=1e-6)
    expected = gradients((plain * WEIGHTS).sum(), x, w)
    torch.testing.assert_close(gradients((mine * WEIGHTS).sum(), x, w), expected, rtol=1e-5, atol=1e-5)


def test_half_states_give_wide_numbers_and_a_wide_gradient_of_the_head():
    x, w, ids = parts(torch.float32)
    mine = linear_logprobs(x.to(torch.bfloat16), w, ids, 4)
    plain = token_logprobs(x.to(torch.bfloat16) @ w.to(torch.bfloat16).t(), ids)
    assert mine.dtype == torch.float32
    torch.testing.assert_close(mine, plain, rtol=0, atol=0.03)
    for got, wanted in zip(gradients(mine.sum(), x, w), gradients(plain.sum(), x, w), strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, wanted, rtol=0.05, atol=0.1)


def test_no_target_has_no_loss_and_no_gradient():
    x, w, ids = parts(torch.float32)
    for loss in (linear_logprobs(x[:0], w, ids[:0], 4).sum(), summed_nll(x[:0], w, ids[:0], 4)):
        assert [float(part.abs().sum()) for part in gradients(loss, x, w)] == [0.0, 0.0, 0.0]
