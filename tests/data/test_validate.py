import pytest

from llmtrain.data import validate
from llmtrain.data.records import Message
from llmtrain.data.validate import BadRow


@pytest.mark.parametrize("value, reason", [
    (None, "not a text"), (3, "not a text"), ("", "empty"), (" \n\t", "empty"), ("a\0b", "NUL"),
    ("a\ud800", "surrogate"),
])  # fmt: skip
def test_text_refuses(value, reason):
    with pytest.raises(BadRow, match=reason):
        validate.text(value, "x")


def test_text_keeps_what_it_takes():
    assert validate.text(" é\n", "x") == " é\n"


@pytest.mark.parametrize("row", [{"role": "user", "content": "a"}, {"from": "human", "value": "a"}])
def test_message_of_either_naming(row):
    assert validate.message(row, "m") == Message("user", "a")


@pytest.mark.parametrize("row, reason", [
    ({"role": "tool", "content": "a"}, "unknown role"), ({"role": "user"}, "missing key 'content'"),
    ({"role": "user", "content": None}, "'content' is null"), ("a", "not a message"), ({}, "missing key 'role'"),
])  # fmt: skip
def test_message_refuses(row, reason):
    with pytest.raises(BadRow, match=reason):
        validate.message(row, "m")


@pytest.mark.parametrize("roles, good", [
    ("u", True), ("ua", True), ("sua", True), ("uau", True), ("a", False), ("au", False), ("uu", False),
    ("s", False), ("usa", False), ("uaa", False),
])  # fmt: skip
def test_order_of_turns(roles, good):
    names = {"u": "user", "a": "assistant", "s": "system"}
    rows = [{"role": names[r], "content": "x"} for r in roles]
    if good:
        assert len(validate.conversation(rows, "m")) == len(roles)
    else:
        with pytest.raises(BadRow):
            validate.conversation(rows, "m")


@pytest.mark.parametrize("texts, ranks, reason", [
    (("a",), (1.0,), "fewer than two"), (("a", "b"), (1.0,), "not as many"),
    (("a", "b", "a "), (1.0, 2.0, 3.0), "identical responses"),
])  # fmt: skip
def test_responses_refuse(texts, ranks, reason):
    with pytest.raises(BadRow, match=reason):
        validate.responses(texts, ranks)


def test_identical_responses_of_one_rank_are_a_tie():
    validate.responses(("a", "b", "a"), (1.0, 2.0, 1.0))


@pytest.mark.parametrize("value", [True, "1", None, float("nan"), float("inf")])
def test_number_refuses(value):
    with pytest.raises(BadRow, match="finite"):
        validate.number(value, "ranks")


def test_shown_neutralises_escapes_and_is_short():
    assert "\x1b" not in validate.shown("\x1b[31m", 40)
    assert "\x1b" not in validate.shown({"a": "\x1b[31m\ud800"}, 40)
    assert len(validate.shown("x" * 1000, 40)) == 40
