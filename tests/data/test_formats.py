"""Every format of the issue, each with what it must become, by hand."""

import pytest

from llmtrain.data import formats
from llmtrain.data.records import Chat, Kind, Message, Prompt, Ranking, Text
from llmtrain.data.validate import BadRow


def U(text):
    return Message("user", text)


def A(text):
    return Message("assistant", text)


MESSAGES = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
SHAREGPT = [{"from": "system", "value": "s"}, {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
HH = "\n\nHuman: q\n\nAssistant: mid\n\nHuman: r\n\nAssistant: "


def read(row, kind, text_column=None):
    form = formats.recognise(row, formats.candidates(kind, text_column))
    return formats.record(row, form, kind)


CHATS = [
    ({"messages": MESSAGES}, (U("q"), A("a"))),
    ({"conversations": SHAREGPT}, (Message("system", "s"), U("q"), A("a"))),
    ({"instruction": "q", "input": "", "output": "a"}, (U("q"), A("a"))),
    ({"instruction": "q", "input": "i", "output": "a", "system": "s"}, (Message("system", "s"), U("q\ni"), A("a"))),
    ({"instruction": "q", "output": "a", "history": [["x", "y"]]}, (U("x"), A("y"), U("q"), A("a"))),
    ({"prompt": "q", "completion": "a"}, (U("q"), A("a"))),
    ({"prompt": MESSAGES[:1], "completion": MESSAGES[1:]}, (U("q"), A("a"))),
]


@pytest.mark.parametrize("row, messages", CHATS)
def test_chat(row, messages):
    assert read(row, Kind.chat) == Chat(messages)
    assert read(row, Kind.prompt).messages == messages[:-1]
    assert read(row, Kind.text) == Text("\n\n".join(m.content for m in messages))


PAIRS = [
    ({"prompt": "q", "chosen": "c", "rejected": "r"}, (U("q"),)),
    ({"prompt": MESSAGES[:1], "chosen": [{"role": "assistant", "content": "c"}],
      "rejected": [{"role": "assistant", "content": "r"}]}, (U("q"),)),
    ({"prompt": "q", "chosen": [MESSAGES[0], {"role": "assistant", "content": "c"}],
      "rejected": [MESSAGES[0], {"role": "assistant", "content": "r"}]}, (U("q"),)),
    ({"conversations": SHAREGPT[:2], "chosen": {"from": "gpt", "value": "c"},
      "rejected": {"from": "gpt", "value": "r"}}, (Message("system", "s"), U("q"))),
    ({"chosen": HH + "c", "rejected": HH + "r"}, (U("q"), A("mid"), U("r"))),
    ({"prompt": HH, "chosen": "c", "rejected": "r"}, (U("q"), A("mid"), U("r"))),
]  # fmt: skip


@pytest.mark.parametrize("row, prompt", PAIRS)
def test_pair(row, prompt):
    assert read(row, Kind.ranking) == Ranking(prompt, ("c", "r"), (1.0, 2.0))
    assert read(row, Kind.prompt).messages == prompt


def test_ranking_of_many():
    row = {"prompt": MESSAGES[:1], "responses": ["a", "b", "c"], "ranks": [2, 1, 2], "annotator": "me"}
    assert read(row, Kind.ranking) == Ranking((U("q"),), ("a", "b", "c"), (2.0, 1.0, 2.0), "me")


@pytest.mark.parametrize("given, ranks", [
    ([2, 3], (1, 2)), ([0, 1], (1, 2)), ([-1.5, -1.5, 7], (1, 1, 2)), ([1, 3, 3], (1, 2, 2)), ([1e300, 5], (2, 1)),
])  # fmt: skip
def test_ranks_are_dense_and_begin_at_one(given, ranks):
    row = {"prompt": "q", "responses": ["a", "b", "c"][: len(given)], "ranks": given}
    assert read(row, Kind.ranking).ranks == ranks


def test_a_tie_of_all_still_holds_a_prompt():
    row = {"prompt": "q", "responses": ["a", "b"], "ranks": [1, 1]}
    assert read(row, Kind.prompt).messages == (U("q"),)
    assert read(row, Kind.prompt) == Prompt((U("q"),), {})


def test_prompt_keeps_the_other_columns_for_the_grader():
    assert read({"prompt": "q", "id": 3, "meta": {"k": 1}}, Kind.prompt) == Prompt((U("q"),), {"id": 3, "k": 1})
    assert read({"instruction": "q", "input": "i"}, Kind.prompt) == Prompt((U("q\ni"),), {})
    assert read({"messages": MESSAGES[:1]}, Kind.prompt) == Prompt((U("q"),), {})


def test_text_column():
    assert read({"text": "t", "id": 1}, Kind.text) == Text("t")
    assert read({"text": "t", "body": "b"}, Kind.text, "body") == Text("b")


@pytest.mark.parametrize("columns, kind", [
    (["text"], Kind.chat), (["chosen"], Kind.ranking), (["a", "b"], Kind.text), (["instruction"], Kind.chat),
    (["messages"], Kind.ranking), (["text"], Kind.prompt),
])  # fmt: skip
def test_unrecognised(columns, kind):
    assert formats.recognise(columns, formats.candidates(kind, None)) is None


# reliability R14
@pytest.mark.parametrize("row, kind, reason", [
    ({"prompt": "q", "chosen": "c", "rejected": "c "}, Kind.ranking, "identical"),
    ({"prompt": "q", "chosen": "c", "rejected": None}, Kind.ranking, "'rejected' is null"),
    ({"prompt": "q", "chosen": "c", "rejected": ""}, Kind.ranking, "'rejected' is empty"),
    ({"chosen": "c", "rejected": "r"}, Kind.ranking, "no prompt"),
    ({"chosen": HH + "c", "rejected": "\n\nHuman: x\n\nAssistant: r"}, Kind.ranking, "differ"),
    ({"chosen": HH + "c", "rejected": HH}, Kind.ranking, "empty"),
    ({"chosen": HH + "c\n\nHuman: x", "rejected": HH + "c"}, Kind.ranking, "end with an assistant"),
    ({"prompt": "q", "responses": ["a", "b"], "ranks": [1]}, Kind.ranking, "as many"),
    ({"prompt": "q", "responses": "ab", "ranks": [1, 2]}, Kind.ranking, "lists"),
    ({"prompt": "q", "responses": ["a", "a"], "ranks": [1, 2]}, Kind.ranking, "identical"),
    ({"prompt": "q", "responses": ["a", 5], "ranks": [1, 2]}, Kind.ranking, "not a text"),
    ({"prompt": "q", "responses": ["a", "b"], "ranks": [3, 3]}, Kind.ranking, "all responses are tied"),
    ({"prompt": "q", "responses": ["a", "a"], "ranks": [1, 1]}, Kind.ranking, "all responses are tied"),
    ({"prompt": "q", "responses": ["a", "b"], "ranks": [10**400, 2]}, Kind.ranking, "finite"),
    ({"instruction": "q", "output": "a", "history": 5}, Kind.chat, "history"),
    ({"messages": MESSAGES[:1]}, Kind.chat, "no assistant answer"),
    ({"messages": []}, Kind.chat, "not a list"),
    ({"messages": "q"}, Kind.chat, "not a list"),
    ({"prompt": MESSAGES}, Kind.prompt, "end with a user"),
    ({"instruction": "q", "output": "a", "history": ["x"]}, Kind.chat, "history"),
])  # fmt: skip
def test_bad_row(row, kind, reason):
    with pytest.raises(BadRow, match=reason):
        read(row, kind)


S = Message("system", "be kind")
ASKED = [{"role": "user", "content": "q"}]


@pytest.mark.parametrize("row, kind, before", [
    ({"messages": MESSAGES}, Kind.chat, "messages"),
    ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, Kind.chat, "messages"),
    ({"prompt": "q", "completion": "a"}, Kind.chat, "messages"),
    ({"instruction": "q", "output": "a"}, Kind.chat, "messages"),
    ({"prompt": "q", "chosen": "c", "rejected": "r"}, Kind.ranking, "prompt"),
    ({"chosen": HH + "c", "rejected": HH + "r"}, Kind.ranking, "prompt"),
    ({"prompt": ASKED, "responses": ["a", "b"], "ranks": [1, 2]}, Kind.ranking, "prompt"),
    ({"prompt": "q"}, Kind.prompt, "messages"),
])  # fmt: skip
def test_a_system_column_is_the_first_message(row, kind, before):
    without, found = getattr(read(row, kind), before), read({**row, "system": S.content}, kind)
    assert getattr(found, before) == (S, *without)
    assert getattr(read({**row, "system": ""}, kind), before) == without
    assert kind is not Kind.prompt or found.meta == {}
    with pytest.raises(BadRow, match="'system' is not a text"):
        read({**row, "system": 5}, kind)


def test_a_system_column_beside_a_system_message():
    messages = [{"role": "system", "content": "be kind "}, *MESSAGES]
    assert len(read({"messages": messages, "system": "be kind"}, Kind.chat).messages) == len(messages)
    with pytest.raises(BadRow, match="two system messages"):
        read({"messages": messages, "system": "be rude"}, Kind.chat)


def test_chosen_and_rejected_must_begin_with_the_prompt_beside_them():
    talk = "\n\nHuman: one\n\nAssistant: two\n\nHuman: three\n\nAssistant: "
    row = {"chosen": talk + "c", "rejected": talk + "r"}
    for prompt in ("one", " one\n", talk, "", None, [{"role": "user", "content": "one"}]):
        assert len(read({**row, "prompt": prompt}, Kind.ranking).prompt) == 3
    for prompt in ("other", "three", talk.replace("two", "zwei")):
        with pytest.raises(BadRow, match="do not begin with 'prompt'"):
            read({**row, "prompt": prompt}, Kind.ranking)
