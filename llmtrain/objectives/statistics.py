"""Numbers that tell how good a judge, a rate or a critic is.

Letters: P pairs; d = score of the chosen minus score of the rejected answer, P(chosen better) = sigmoid(d). Over the
whole set of pairs at once, never a mean of batch means (correctness B7).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from llmtrain.objectives.masked import masked_var


def correct(d: Tensor) -> Tensor:
    """[P] -> [P]: 1 right, 0 wrong, a half for equal scores, so that a constant judge gets 0.5."""
    return (d.sign().double() + 1) / 2


def wins(d: Tensor, ended: Tensor, before: Tensor) -> Tensor:
    """[B] score differences, [B] bool who ended now and before -> [B]: 1 won, 0 lost, ties half.

    An answer that was cut off loses to one that ended: the judge has learnt from whole answers alone (correctness B2).
    """
    return torch.where(ended == before, correct(d), ended.double())


def pair_accuracy(d: Tensor) -> float:
    """Share of pairs [P] in the right order, ties half; nan without pairs."""
    return float(correct(d).mean())


def log_loss(d: Tensor) -> float:
    """Mean of -log sigmoid(d) in nats."""
    return float(F.softplus(-d.double()).mean())


def brier(d: Tensor) -> float:
    """Mean of (1 - sigmoid(d))^2."""
    return float(torch.sigmoid(-d.double()).square().mean())


@dataclass(frozen=True)
class Bin:
    """The n pairs whose confidence lies in (low, high]; accuracy and confidence are their means."""

    low: float
    high: float
    n: int
    accuracy: float
    confidence: float


def calibration(d: Tensor, bins: int = 5) -> list[Bin]:
    """Bins of equal width over confidence = max(p, 1-p) in [0.5, 1], right-closed; empty ones are left out."""
    confidence, right = torch.sigmoid(d.double().abs()), correct(d)
    edges = torch.linspace(0.5, 1.0, bins + 1, dtype=torch.float64, device=d.device)
    place = torch.bucketize(confidence, edges[1:-1])
    found = []
    for i in range(bins):
        inside = place == i
        if n := int(inside.sum()):
            means = float(right[inside].mean()), float(confidence[inside].mean())
            found.append(Bin(float(edges[i]), float(edges[i + 1]), n, *means))
    return found


def mean_confidence(d: Tensor) -> float:
    """How sure the pairs [P] are decided on average, in [0.5, 1]: above the accuracy is overconfidence."""
    return float(torch.sigmoid(d.double().abs()).mean())


def ece(d: Tensor, bins: int = 5) -> float:
    """Expected calibration error: mean over pairs of |accuracy - confidence| of their bin."""
    return sum(b.n * abs(b.accuracy - b.confidence) for b in calibration(d, bins)) / max(len(d), 1)


def correlation(x: Tensor, y: Tensor) -> float:
    """Pearson correlation of [P] and [P]; 0 when one of them is constant."""
    x, y = x.double(), y.double()
    if not len(x) or bool((x == x[0]).all()) or bool((y == y[0]).all()):
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / (x.norm() * y.norm()))


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor | None = None) -> float:
    """1 - Var(R - V) / Var(R) over real tokens; 0 when the returns do not vary."""
    variance = masked_var(returns.double(), mask)
    return float(1 - masked_var(returns.double() - values.double(), mask) / variance) if variance > 0 else 0.0
