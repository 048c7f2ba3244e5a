"""Lines with a slash."""

import pytest

from llmtrain.chat.commands import COMMANDS, help_text, is_command, obey
from llmtrain.chat.conversation import Conversation, Round
from llmtrain.errors import DataError


@pytest.fixture
def talk(panel):
    found = Conversation(panel, system=None, temperature=0.0)
    found.rounds = [Round("a", {}, {})]
    return found


def test_what_commands_do(talk, tmp_path):
    assert obey("/temperature 0.7 ", talk).message == "temperature 0.7"
    assert talk.temperature == 0.7
    obey("/system Answer  in rhymes.", talk)
    assert talk.system == "Answer  in rhymes."
    obey("/system", talk)
    assert talk.system is None
    assert str(tmp_path / "a b.json") in obey(f"/save {tmp_path / 'a b.json'}", talk).message
    assert (tmp_path / "a b.json").is_file()
    obey("/reset", talk)
    assert talk.rounds == []
    assert obey("/quit", talk).quits
    assert obey("/help", talk).message == help_text()
    assert all(name in help_text() for name in COMMANDS)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/temprature 1", "/temprature: there is no such command; did you mean /temperature?"),
        ("/foo", "/foo: there is no such command; see /help"),
        ("/", "/: there is no such command"),
        ("/temperature", "'' is no number; write /temperature 0.7"),
        ("/temperature warm", "'warm' is no number"),
        ("/temperature -1", "/temperature: -1 must be 0"),
        ("/temperature nan", "/temperature: nan must be 0"),
        ("/reset now", "/reset takes nothing behind it"),
        ("/save", "write /save FILE"),
        ("/system \0", "NUL"),
    ],
)
def test_what_commands_refuse(talk, line, said):
    with pytest.raises(DataError) as caught:
        obey(line, talk)
    assert said in str(caught.value)
    assert (talk.temperature, talk.system, len(talk.rounds)) == (0.0, None, 1)


def test_two_slashes_begin_a_question():
    assert is_command("/etc")
    assert not is_command("//etc")
    assert not is_command("a /etc")
