import pytest

from llmtrain.errors import DataError
from llmtrain.text.render import Said, answer_pieces, pieces

USER, ANSWER = Said("user", "one"), Said("assistant", "two")


def with_template(tokenizer, source):
    import copy

    changed = copy.deepcopy(tokenizer)
    changed.chat_template = source
    return changed


def test_pieces_by_hand(bpe):
    found = [(p.text, p.control, p.counts, p.closes) for p in pieces(bpe, [USER, ANSWER])]
    assert found == [
        ("<|user|>", True, False, False),
        ("one", False, False, False),
        ("<|end|><|assistant|>", True, False, False),
        ("two", False, True, False),
        ("<|end|>", True, False, True),
    ]


def test_answer_pieces_are_the_end_of_the_conversation(bpe):
    assert [p.text for p in answer_pieces(bpe, "two")] == ["two", "<|end|>"]


def test_content_is_trimmed_where_the_template_trims(bpe):
    trims = with_template(bpe, bpe.chat_template.replace("message['content']", "(message['content'] | trim)"))
    message = Said("user", "  x \n")
    assert "  x \n" in [p.text for p in pieces(bpe, [message])]
    assert "x" in [p.text for p in pieces(trims, [message])]


def test_text_added_before_an_answer_counts(bpe):
    """Qwen3 writes an empty think block behind the generation prompt; the model has to produce it."""
    thinks = bpe.chat_template.replace(
        "message['content']", "('<t>' if message['role'] == 'assistant' else '') + message['content']"
    )
    found = pieces(with_template(bpe, thinks), [USER, ANSWER])
    assert [(p.text, p.counts) for p in found][2:4] == [("<|end|><|assistant|>", False), ("<t>", True)]


def test_template_that_rewrites_the_past_is_refused(bpe):
    rewrites = "{% if messages[-1]['role'] == 'assistant' %}changed{% endif %}" + bpe.chat_template
    with pytest.raises(DataError, match="message 2 differently"):
        pieces(with_template(bpe, rewrites), [USER, ANSWER])


def test_template_that_drops_a_message_is_refused(bpe):
    drops = bpe.chat_template.replace("in messages", "in messages if message['role'] != 'system'")
    with pytest.raises(DataError, match="each message of system, user"):
        pieces(with_template(bpe, drops), [Said("system", "s"), USER])


def test_template_that_refuses_a_role(bpe):
    refuses = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    with pytest.raises(DataError, match="refuses a conversation of system, user: no system"):
        pieces(with_template(bpe, refuses + bpe.chat_template), [Said("system", "s"), USER])


def test_marks_in_the_data_are_only_text(bpe):
    message = Said("user", "\u2003\ue0000\ue001\u2003")
    assert message.content in [p.text for p in pieces(bpe, [message])]
