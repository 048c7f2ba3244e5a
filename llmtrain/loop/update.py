"""One optimizer step: count first, then backpropagate sum / count, over all processes (correctness A2)."""

import math
from collections import defaultdict
from dataclasses import dataclass, field

import torch

from llmtrain.launch.mesh import Mesh
from llmtrain.loop.learner import Learner, Window


@dataclass
class Totals:
    """Sums over the updates of a round."""

    sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    counts: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    tokens: int = 0
    filling: int = 0
    updates: int = 0
    skipped: int = 0
    in_a_row: int = 0  # skipped updates up to now, those of earlier rounds included
    grad_norm: float = 0.0


def update(
    learner: Learner, optimizer: torch.optim.Optimizer, window: Window, clip_norm: float, mesh: Mesh, totals: Totals
) -> None:
    """Take one optimizer step on the micro-batches of `window`; skip it when its gradient is not finite.

    Every process takes its share of the micro-batches; the divisor counts the items of all of them.
    """
    items = sum(batch.items for batch in window)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for batch in mesh.share(window):
        loss = learner.loss(batch)
        if items:
            (loss.total / items).backward()
        for name, (total, count) in loss.metrics.items():
            totals.sums[name] += total
            totals.counts[name] += count
    if items:
        mesh.add_gradients(parameters)
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    totals.grad_norm = float(norm)
    totals.tokens += sum(batch.tokens for batch in window)
    totals.filling += sum(batch.filling for batch in window)
    totals.updates += 1
    if math.isfinite(totals.grad_norm):
        torch.nn.utils.clip_grads_with_norm_(parameters, clip_norm, norm)
        optimizer.step()
        totals.in_a_row = 0
    else:  # a single NaN would reach every weight through the clipping (reliability F9)
        totals.skipped += 1
        totals.in_a_row += 1
    optimizer.zero_grad(set_to_none=True)
