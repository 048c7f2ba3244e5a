import pytest

from llmtrain.data.records import Message
from llmtrain.rank.records import Ballot, Item, dense

PROMPT = [Message("user", "hello")]


def test_an_items_id_hides_the_order_of_its_answers():
    one = Item.of(PROMPT, ["a", "b"], ["sft", "ppo"])
    other = Item.of(PROMPT, ["b", "a"], ["base", "base"])
    assert one.id == other.id
    assert one.responses == ("a", "b")


@pytest.mark.parametrize(
    ("messages", "responses"),
    [
        (PROMPT, ["a", "c"]),
        (PROMPT, ["a", "b", "b"]),
        (PROMPT, ["ab", ""]),
        ([Message("system", "hello")], ["a", "b"]),
        ([*PROMPT, Message("assistant", "x"), Message("user", "y")], ["a", "b"]),
    ],
)
def test_another_prompt_or_answer_is_another_item(messages, responses):
    assert Item.of(messages, responses, ["x"] * len(responses)).id != Item.of(PROMPT, ["a", "b"], ["x", "x"]).id


@pytest.mark.parametrize(("responses", "sources"), [(["a"], ["x"]), (["a", "b"], ["x"]), ([], [])])
def test_an_item_is_something_to_compare(responses, sources):
    with pytest.raises(ValueError, match="two or more responses"):
        Item.of(PROMPT, responses, sources)


def test_a_ballot_is_one_text_and_comes_back():
    ballot = Ballot((2, 1), None, ({"honest": True, "helpful": False}, {}))
    assert Ballot((2, 1), None, ({"helpful": False, "honest": True}, {})).to_json() == ballot.to_json()
    assert Ballot.from_json(ballot.to_json()) == ballot
    assert Ballot.from_json(Ballot(None, "überall").to_json()) == Ballot(None, "überall")


@pytest.mark.parametrize(
    ("ranks", "expected"), [((2, 7, 2), (1, 2, 1)), ((1, 2, 3), (1, 2, 3)), ((9, 9), (1, 1)), ((3, 1), (2, 1))]
)
def test_dense(ranks, expected):
    assert dense(ranks) == expected
