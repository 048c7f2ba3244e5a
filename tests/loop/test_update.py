"""One optimizer step: token-normalised accumulation (A2, F10) and non-finite gradients (reliability F9, R11)."""

from types import SimpleNamespace

import pytest
import torch
from fakes import ONE, Fake, Kept, Numbers, optimizer

from llmtrain.loop.learner import Loss
from llmtrain.loop.update import Totals, update


@pytest.mark.parametrize("parts", [1, 2, 4, 8])
def test_F10_cutting_a_window_into_micro_batches_changes_no_gradient(parts):
    torch.manual_seed(0)
    x, w = torch.randn(37, 5), torch.randn(5)

    def gradient(pieces):
        weight = torch.nn.Parameter(w.clone())

        def loss(batch):
            return Loss((batch.x @ weight).sigmoid().sum())

        window = [SimpleNamespace(x=piece, items=len(piece), tokens=len(piece), filling=0) for piece in pieces]
        sgd = Kept([weight])
        update(SimpleNamespace(loss=loss), sgd, window, 1e9, ONE, Totals())
        return sgd.grads[0]

    by_hand = torch.func.grad(lambda v: (x @ v).sigmoid().mean())(w)
    sizes = [37 - 3 * (parts - 1), *[3] * (parts - 1)]  # unequal, so that a mean of means would differ
    torch.testing.assert_close(gradient(x.split(sizes)), by_hand, rtol=1e-5, atol=1e-7)


def test_micro_batch_without_targets_adds_nothing():
    learner, without = Fake(), Fake()
    for fake, window in ((learner, [[1.0, 2.0], []]), (without, [[1.0, 2.0]])):
        update(fake, optimizer(fake), [Numbers(torch.tensor(x)) for x in window], 1e9, ONE, Totals())
    assert torch.equal(learner.module["w"], without.module["w"])
    assert torch.isfinite(learner.module["w"]).all()


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_non_finite_gradient_changes_no_weight_and_the_next_step_is_healthy(poison):
    learner, healthy = Fake(), Fake()
    adam, other = optimizer(learner), optimizer(healthy)
    good, bad = [Numbers(torch.tensor([1.0, 2.0]))], [Numbers(torch.tensor([1.0, poison]))]
    totals = Totals()
    update(learner, adam, good, 1.0, ONE, totals)
    before = learner.module["w"].detach().clone()
    update(learner, adam, bad, 1.0, ONE, totals)
    assert torch.equal(learner.module["w"], before) and totals.skipped == 1
    update(learner, adam, good, 1.0, ONE, totals)
    for _ in range(2):
        update(healthy, other, good, 1.0, ONE, Totals())
    assert totals.skipped == 1
    assert torch.equal(learner.module["w"], healthy.module["w"])  # as if the bad update had never been


def test_gradient_is_clipped_to_the_global_norm_and_logged_before():
    weight = torch.nn.Parameter(torch.zeros(2))
    sgd, totals = Kept([weight]), Totals()
    window = [SimpleNamespace(items=1, tokens=1, filling=0)]
    update(
        SimpleNamespace(loss=lambda b: Loss((weight * torch.tensor([3.0, 4.0])).sum())), sgd, window, 1.0, ONE, totals
    )
    assert totals.grad_norm == pytest.approx(5.0)
    torch.testing.assert_close(sgd.grads[0], torch.tensor([0.6, 0.8]), rtol=1e-5, atol=1e-6)
