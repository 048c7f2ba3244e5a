"""The built-in rules."""

import pytest

from llmtrain.data.microworld import rows as microworld
from llmtrain.data.microworld.world import World
from llmtrain.data.records import Message, Prompt
from llmtrain.errors import DataError
from llmtrain.rollout.rules import ask, rule


@pytest.mark.parametrize(("answer", "score"), [("42", 1), (" 42\n", 1), ("42.", 0), ("", 0)])
def test_exact_compares_with_the_row_s_own_answer(answer, score):
    for known in ("42", 42, "42 "):
        assert ask(rule("exact", None), Prompt((Message("user", "6 x 7"),), {"answer": known}), answer) == score


def test_exact_names_a_row_without_an_answer():
    with pytest.raises(DataError, match=r"column `answer` beside '6 x 7', whose row has solution; add it"):
        ask(rule("exact", None), Prompt((Message("user", "6 x 7"),), {"solution": 42}), "42")


@pytest.mark.parametrize(
    ("pattern", "answer", "score"),
    [("^.{1,5}$", "short", 1), ("^.{1,5}$", "longer", 0), (r"\d", "a 7", 1), ("^$", "", 1)],
)
def test_match_finds_a_pattern(pattern, answer, score):
    assert rule("match", pattern)("asked", answer, {}) == score


def test_gold_passes_the_good_answers_of_the_world_and_no_bad_one():
    for prompt in microworld.prompts(World(0), "train", 30, 0):
        assert ask(rule("gold", None), prompt, prompt.meta["good"]) == 1
        assert ask(rule("gold", None), prompt, prompt.meta["bad"]) < 1
        assert ask(rule("gold", None), prompt, "") == 0
