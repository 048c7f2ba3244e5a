import torch

from llmtrain.objectives.masked import length_mask, masked_mean, masked_sum, masked_var, masked_whiten, unflatten

NAN = float("nan")


def test_half_precision_is_summed_wide():
    x = torch.full((4096,), 0.1, dtype=torch.bfloat16)
    assert masked_sum(x).dtype == torch.float32
    assert abs(float(masked_mean(x)) - float(x[0])) < 1e-6


def test_f5_padding_gives_no_gradient():
    x = torch.tensor([1.0, 3.0, NAN], requires_grad=True)
    mask = torch.tensor([True, True, False])
    masked_whiten(x, mask)[0].backward()
    assert x.grad.isfinite().all() and x.grad[2] == 0
    x.grad = None
    masked_mean(x, mask).backward()
    assert x.grad.tolist() == [0.5, 0.5, 0]


def test_f36_nothing_real():
    x, mask = torch.tensor([[NAN, NAN]], requires_grad=True), torch.zeros(1, 2, dtype=torch.bool)
    total = masked_sum(x, mask) + masked_mean(x, mask) + masked_var(x, mask) + masked_whiten(x, mask).sum()
    total.backward()
    assert total == 0 and x.grad.abs().sum() == 0


def test_f36_whitening_equal_values_gives_zero():
    assert masked_whiten(torch.full((2, 3), 0.3)).abs().max() < 1e-3
    assert masked_whiten(torch.tensor([5.0])) == 0


def test_whitened_values_have_mean_zero_and_variance_one():
    x = torch.randn(5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 2
    mask = length_mask(torch.tensor([7, 1, 4, 2, 6]))
    real = masked_whiten(x, mask)[mask]
    assert abs(real.mean()) < 1e-12 and abs(real.var(correction=0) - 1) < 1e-6


def test_unflatten_keeps_the_order_and_the_gradient():
    mask = length_mask(torch.tensor([2, 0, 3]), width=4)
    assert mask.tolist() == [[True, True, False, False], [False] * 4, [True, True, True, False]]
    flat = torch.arange(1.0, 6.0, requires_grad=True)
    rows = unflatten(flat, mask)
    assert rows.tolist() == [[1, 2, 0, 0], [0, 0, 0, 0], [3, 4, 5, 0]]
    (rows * rows).sum().backward()
    assert flat.grad.tolist() == [2, 4, 6, 8, 10]
