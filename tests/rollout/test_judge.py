"""The reward model as a judge."""

import pytest
import torch

from llmtrain.data.pack import pack
from llmtrain.models import scalar
from llmtrain.rollout.judge import RewardJudge
from llmtrain.rollout.sample import Completion


@pytest.fixture
def scorer(model):
    return scalar.from_causal(model, seed=3)


@pytest.mark.parametrize("micro_tokens", [1, 20, 1000])
def test_scores_are_those_of_each_answer_alone(scorer, prompts, micro_tokens):
    answers = [Completion([3 + i] * (i + 1) + [1], True) for i in range(len(prompts))]
    scores = RewardJudge(scorer, micro_tokens).score(prompts, answers)
    alone = [scorer.scores(pack([p + a.ids])) for p, a in zip(prompts, answers, strict=True)]
    torch.testing.assert_close(scores, torch.cat(alone).detach(), atol=1e-5, rtol=0)
    assert not scores.requires_grad


def test_every_prompt_needs_its_answer(scorer, prompts):
    with pytest.raises(ValueError, match="zip"):
        RewardJudge(scorer, 100).score(prompts, [Completion([1], True)])
