"""The sequence task of correctness section F, enumerated: tokens a, b, EOS; at most 3 of them; 15 responses.

A tabular policy has logits [7 states, 3 tokens]; a state is what was said before. Expectations over responses are exact
sums, so the objectives under test can be held to the optimum without sampling noise.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from llmtrain.objectives.logprobs import response_mask, token_logprobs

EOS = 2
NAMES = ["E", "aE", "bE", "aaa", "aab", "aaE", "aba", "abb", "abE", "baa", "bab", "baE", "bba", "bbb", "bbE"]
STATES = ["", "a", "b", "aa", "ab", "ba", "bb"]


@dataclass(frozen=True)
class Task:
    ids: Tensor  # [15,3]
    states: Tensor  # [15,3] the state before each token; 0 in padding
    mask: Tensor  # [15,3]
    ended: Tensor  # [15]
    gold: Tensor  # [15] #b - .5 #a; the missing-EOS rule is not in it


def task(dtype: torch.dtype) -> Task:
    ids = torch.tensor([["abE".index(c) for c in name.ljust(3, "E")] for name in NAMES])
    states = [[STATES.index(name[:t]) if t < len(name) else 0 for t in range(3)] for name in NAMES]
    mask, ended = response_mask(ids, EOS)
    gold = [name.count("b") - 0.5 * name.count("a") for name in NAMES]
    return Task(ids, torch.tensor(states), mask, ended, torch.tensor(gold, dtype=dtype))


def logprobs(task: Task, policy: Tensor) -> Tensor:
    """[7,3] logits -> [15,3] log-probabilities of the tokens; padding holds NaN, as it may."""
    return token_logprobs(policy[task.states], task.ids).masked_fill(~task.mask, float("nan"))


def probabilities(task: Task, policy: Tensor) -> Tensor:
    """[15] exact probability of each response."""
    return torch.where(task.mask, logprobs(task, policy), 0.0).sum(-1).exp()
