"""The reward model as a judge, and functions of the text."""

import pytest
import torch

from llmtrain.data.pack import pack
from llmtrain.data.records import Message, Prompt
from llmtrain.models import scalar
from llmtrain.rollout.judge import RewardJudge, TextJudge
from llmtrain.rollout.sample import Completion

ASKED = [Prompt((Message("system", "s"), Message("user", f"q{i}")), {"answer": i}) for i in range(8)]


@pytest.fixture
def scorer(model):
    return scalar.from_causal(model, seed=3)


@pytest.mark.parametrize("micro_tokens", [1, 20, 1000])
def test_scores_are_those_of_each_answer_alone(scorer, prompts, micro_tokens):
    answers = [Completion([3 + i] * (i + 1) + [1], True) for i in range(len(prompts))]
    scores = RewardJudge(scorer, micro_tokens).score(ASKED, prompts, answers)
    alone = [scorer.scores(pack([p + a.ids])) for p, a in zip(prompts, answers, strict=True)]
    torch.testing.assert_close(scores, torch.cat(alone).detach(), atol=1e-5, rtol=0)
    assert not scores.requires_grad


def test_every_prompt_needs_its_answer(scorer, prompts):
    with pytest.raises(ValueError, match="zip"):
        RewardJudge(scorer, 100).score(ASKED, prompts, [Completion([1], True)])


def test_a_function_sees_the_question_the_text_and_the_row():
    seen = []

    def function(prompt, answer, row):
        seen.append((prompt, answer, row["answer"], [m["role"] for m in row["messages"]]))
        return row["answer"] / 2

    answers = [Completion([i], True) for i in range(2)]
    polls: list[int] = []  # a signal that comes while a slow function thinks is heard before the next answer
    judge = TextJudge(function, lambda c: f"text {c.ids[0]}", lambda: polls.append(len(polls)))
    scores = judge.score(ASKED[:2], [[1], [2]], answers)
    assert polls == [0, 1]
    assert seen == [("q0", "text 0", 0, ["system", "user"]), ("q1", "text 1", 1, ["system", "user"])]
    assert scores.tolist() == [0.0, 0.5] and scores.dtype == torch.float32
