import math

import torch

from llmtrain.objectives.lm import bits_per_byte, byte_sums, nll, perplexity


def test_f10_any_split_has_the_same_gradient():
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mask = torch.rand(8, generator=torch.Generator().manual_seed(1)) < 0.7
    grads = []
    for parts in (1, 2, 4, 8):
        weight = torch.ones(6, dtype=torch.float64, requires_grad=True)
        for rows, real in zip(x.chunk(parts), mask.chunk(parts), strict=True):
            total, _ = nll((rows * weight).log_softmax(-1)[:, 0], real)
            (total / mask.sum()).backward()
        grads.append(weight.grad)
    for grad in grads[1:]:
        torch.testing.assert_close(grad, grads[0], rtol=1e-12, atol=1e-15)


def test_f36_a_micro_batch_without_targets_adds_nothing():
    logp = torch.tensor([float("nan")], requires_grad=True)
    total, n = nll(logp, torch.tensor([False]))
    total.backward()
    assert total == 0 and n == 0 and logp.grad == 0


def test_uniform_model_over_256_bytes():
    nats = 10 * math.log(256)
    assert math.isclose(perplexity(nats, 10), 256)
    assert math.isclose(bits_per_byte(nats, 10), 8)


def test_special_tokens_stand_in_neither_sum():
    nats, size = byte_sums(torch.tensor([1.0, 100.0, 2.0]), torch.tensor([3, 0, 2]))
    assert (float(nats), int(size)) == (3.0, 5)


def test_edges():
    assert math.isnan(perplexity(0.0, 0)) and math.isnan(bits_per_byte(0.0, 0))
    assert perplexity(1e6, 1) == math.inf
