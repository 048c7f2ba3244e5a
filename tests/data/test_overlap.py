"""What is said twice, by hand-made rows."""

import pytest

from llmtrain.data import overlap
from llmtrain.data.records import Chat, Message, Prompt, Ranking


def chat(asked: str, answer: str = "Yes.") -> Chat:
    return Chat((Message("user", asked), Message("assistant", answer)))


def asked(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)


def test_case_spaces_and_wide_letters_do_not_hide_a_prompt():
    train = [chat("Where is  Tom?"), chat("where is tom?\n", "No."), chat("WHERE IS TOM?"), chat("Where is Ana?")]
    held = [chat("Where is Tom?", "There."), chat("Where is Tim?"), chat("\uff37here is Ana?")]
    assert overlap.counts(train, held) == {"data/train": 4, "data/eval": 3, "data/repeated": 1, "data/leaked": 2}


@pytest.mark.parametrize(
    ("rows", "repeated"),
    [
        ([Prompt(asked("a b"), {"h": 1}), Prompt(asked("a  B"))], 1),
        ([Ranking(asked("a"), ("x", "y"), (1, 2)), Ranking(asked("a"), ("x", "z"), (1, 2))], 0),
        ([Ranking(asked("a"), ("x", "y"), (1, 2)), Ranking(asked("A"), ("x", "y"), (2, 1))], 1),
        ([chat("a", "b c"), chat("a b", "c")], 0),
    ],
    ids=["prompt", "other answers", "same answers", "told apart"],
)
def test_a_row_repeats_another_when_all_it_says_does(rows, repeated):
    assert overlap.counts(rows, [])["data/repeated"] == repeated
