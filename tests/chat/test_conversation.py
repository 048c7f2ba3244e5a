"""What several models know of a conversation, and what of it is saved."""

import json

import pytest

from llmtrain.chat.conversation import LONGEST, Conversation, Round, spoken
from llmtrain.chat.panel import Answer, Stop
from llmtrain.data.records import Message
from llmtrain.errors import DataError


def silent(*_):
    pass


@pytest.fixture
def talk(panel):
    return Conversation(panel, system="Be kind.", temperature=0.0)


def test_each_model_goes_on_from_its_own_answers(talk):
    told = []
    first = talk.ask("Where does Mira live?", lambda label, piece: told.append((label, piece)))
    assert list(first.answers) == ["pretrain", "sft"]
    for label, answer in first.answers.items():
        assert "".join(piece for who, piece in told if who == label) == answer.text
        assert talk.messages(label, "And Tom?") == [
            Message("system", "Be kind."),
            Message("user", "Where does Mira live?"),
            Message("assistant", answer.text),
            Message("user", "And Tom?"),
        ]


def test_a_model_that_said_nothing_does_not_know_of_the_question(talk):
    nothing, fault = Round("a", {"sft": Answer(" ", 1, True)}, {}), Round("b", {}, {"sft": "too long"})
    talk.rounds = [nothing, fault]
    assert [m.content for m in talk.messages("sft", "c")] == ["Be kind.", "c"]


def test_a_fault_of_one_model_leaves_the_others_their_answer(talk, monkeypatch):
    monkeypatch.setattr(talk.panel.voices["pretrain"], "room", 5)
    found = talk.ask("Where does Mira live?", silent)
    assert list(found.answers) == ["sft"]
    assert "this model sees 5" in found.faults["pretrain"]
    assert "this model sees 5" in found.row()["answers"]["pretrain"]["error"]


def test_after_a_stop_nobody_else_is_asked(talk):
    def stop(*_):
        raise Stop

    found = talk.ask("Where does Mira live?", stop)
    assert list(found.answers) == ["pretrain"]
    assert found.answers["pretrain"].stopped


def test_a_reset_forgets_and_keeps_the_settings(talk):
    talk.ask("hello", silent)
    talk.reset()
    assert [m.content for m in talk.messages("sft", "x")] == ["Be kind.", "x"]
    assert talk.asked == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("a\0b", "NUL"),
        ("\udc80", "not valid UTF-8"),
        ("x" * (LONGEST + 1), "shorten it"),
    ],
)
def test_what_is_no_prompt(talk, text, said):
    with pytest.raises(DataError, match=said):
        talk.ask(text, silent)
    assert not talk.rounds


def test_the_longest_prompt_is_one():
    assert len(spoken("x" * LONGEST, "prompt")) == LONGEST


def test_a_conversation_is_saved_as_it_was_said(talk, tmp_path):
    found = talk.ask("hello\u202e", silent)
    assert talk.save(str(tmp_path / "a.json")) == tmp_path / "a.json"
    saved = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert saved["models"] == ["pretrain", "sft"]
    assert (saved["judged_by"], saved["system"], saved["temperature"]) == ("reward", "Be kind.", 0.0)
    (row,) = saved["rounds"]
    assert row["prompt"] == "hello\u202e"
    for label, answer in found.answers.items():
        said = row["answers"][label]
        assert (said["text"], said["tokens"], said["ended"]) == (answer.text, answer.tokens, answer.ended)
        assert said["score"] == pytest.approx(answer.score, abs=1e-4)


def test_a_file_that_is_there_stays_as_it_is_and_a_folder_that_is_not_is_told(talk, tmp_path):
    file = tmp_path / "a.json"
    file.write_text("mine")
    with pytest.raises(DataError, match="is there already"):
        talk.save(str(file))
    assert file.read_text() == "mine"
    for place in (str(tmp_path / "no" / "b.json"), "~nobody-at-all/x", "", "a\0"):
        with pytest.raises(DataError, match="cannot be written|no file named"):
            talk.save(place)
