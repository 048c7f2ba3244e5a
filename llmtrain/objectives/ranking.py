"""Losses on human rankings, and the scale of the score that they train.

Letters: S answers of all prompts side by side, P pairs of answers to the same prompt.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from llmtrain.objectives.masked import wide


@dataclass(frozen=True)
class Pairs:
    """Ordered pairs of answers: `better[p]` was ranked above `worse[p]`, or as high where label is a half."""

    better: Tensor  # [P] int64, index of an answer
    worse: Tensor  # [P] int64
    label: Tensor  # [P] float, probability that `better` is better: 1, or 0.5 for a tie
    prompt: Tensor  # [P] int64, the group of both


TIES = ("drop", "half")  # the names in config.schema.Tie


def pairs(group: Tensor, ranks: Tensor, tie: str = "drop") -> Pairs:
    """All pairs within a prompt: group [S] says which prompt, ranks [S] with 1 the best -> Pairs.

    Equal ranks give no pair, or with tie="half" one whose label is 0.5 (correctness B3).
    """
    assert tie in TIES, f"tie={tie}: one of {', '.join(TIES)}"
    same = group[:, None] == group[None, :]
    chosen = same & (ranks[:, None] < ranks[None, :])
    if tie == "half":
        chosen |= (same & (ranks[:, None] == ranks[None, :])).triu(1)
    better, worse = chosen.nonzero(as_tuple=True)
    label = torch.where(ranks[better] < ranks[worse], 1.0, 0.5)
    return Pairs(better, worse, label, group[better])


def kway_loss(
    scores: Tensor, group: Tensor, ranks: Tensor, *, tie: str = "drop", margin: float = 0.0
) -> tuple[Tensor, int]:
    """InstructGPT equation 1: scores, group, ranks [S] -> (sum over prompts of the mean over its pairs, prompts).

    Prompts without a pair count for nothing. Every prompt weighs the same, however many answers it has.
    """
    found = pairs(group, ranks, tie)
    scores = wide(scores)
    losses = bradley_terry(scores[found.better], scores[found.worse], margin, found.label.to(scores.dtype))
    _, prompt, sizes = found.prompt.unique(return_inverse=True, return_counts=True)
    return (losses / sizes[prompt]).sum(), len(sizes)


def bradley_terry(
    chosen: Tensor, rejected: Tensor, margin: Tensor | float = 0.0, label: Tensor | float = 1.0
) -> Tensor:
    """-log sigmoid(chosen - rejected - margin), all [P] -> [P]; never overflows.

    label is the probability that `chosen` is better; a tie (0.5) has no margin (correctness B4).
    """
    label = torch.as_tensor(label, dtype=wide(chosen).dtype, device=chosen.device)
    margin = torch.where(label == 0.5, 0.0, torch.as_tensor(margin, dtype=label.dtype, device=chosen.device))
    difference = wide(chosen) - wide(rejected) - margin
    return -(label * F.logsigmoid(difference) + (1 - label) * F.logsigmoid(-difference))


def centre_penalty(chosen: Tensor, rejected: Tensor) -> Tensor:
    """(chosen + rejected)^2, [P] -> [P]: holds the free constant of the scores near 0 (correctness B4)."""
    return (wide(chosen) + wide(rejected)).square()


def normalised_head(outputs: Tensor, gain: float, bias: float, *, unit_sd: bool = False) -> tuple[float, float]:
    """New (gain, bias) of score = gain * head + bias, so that the scores of demonstrations have mean 0 (and sd 1).

    outputs: CURRENT scores of the demonstrations, made with `gain` and `bias`; so a second call changes nothing
    (correctness B6). Equal outputs keep their scale.
    """
    outputs = outputs.double()
    deviation = float(outputs.std(correction=0)) if unit_sd else 1.0
    deviation = deviation or 1.0
    return gain / deviation, (bias - float(outputs.mean())) / deviation
