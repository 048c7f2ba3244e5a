"""The screen: columns or one below the other, nothing raw of what a model wrote, Ctrl-C, Ctrl-D."""

import io
import os
import signal

import pytest
from rich.console import Console

from llmtrain.chat import terminal
from llmtrain.chat.conversation import Conversation, Round
from llmtrain.chat.display import Display, Wrapped, best, footer
from llmtrain.chat.panel import Answer, Panel, Stop
from llmtrain.rollout.sample import Completion

HOSTILE = "\x1b[2J\x1b]0;owned\x07 \u202etxt.exe [bold red]x[/] \x9b31m"


def screen(width=160):
    return Console(file=io.StringIO(), width=width, height=50, force_terminal=True, color_system=None, highlight=False)


def typed(monkeypatch, *lines):
    """input() gives the lines, then Ctrl-D; an exception among them is raised."""
    left = list(lines)

    def read(_):
        if not left:
            raise EOFError
        line = left.pop(0)
        if isinstance(line, str):
            return line
        raise line

    monkeypatch.setattr("builtins.input", read)


class Scripted(Panel):
    """The models of a panel, with the words put into their mouths."""

    def __init__(self, panel, words):
        super().__init__(list(panel.voices.values()), None, max_new_tokens=24, draws=panel.draws)
        self.words = words

    def _spoken(self, voice, ids, temperature, number, tell):
        text = ""
        try:
            for piece in self.words:
                text += piece
                tell(piece)
        except Stop:
            return Completion([5], False), text, True
        return Completion([5, 1], True), text, False


def conversed(panel, console):
    talk = Conversation(panel, system=None, temperature=0.0)
    terminal.converse(talk, console)
    return talk, console.file.getvalue()


def test_a_wide_screen_has_columns_and_a_narrow_one_has_not(panel, monkeypatch):
    for width, together in ((160, True), (60, False)):
        typed(monkeypatch, "hello", "", "/quit", "never read")
        talk, shown = conversed(panel, screen(width))
        assert [past.prompt for past in talk.rounds] == ["hello"]
        rows = [line for line in shown.splitlines() if "pretrain" in line and "sft" in line and "(" not in line]
        assert bool(rows) == together
        for answer in talk.rounds[0].answers.values():
            assert footer(answer) in shown


def test_nothing_that_a_model_writes_steers_the_terminal(panel, monkeypatch):
    for width in (160, 60):
        typed(monkeypatch, "hello")
        _, shown = conversed(Scripted(panel, [HOSTILE]), screen(width))
        for raw in ("\x1b[2J", "\x1b]0", "\x07", "\u202e", "\x9b"):
            assert raw not in shown
        assert "⟨U+001B⟩" in shown
        assert "[bold red]x[/]" in shown.replace("\n", "")


def test_commands_faults_and_questions_with_a_slash(panel, monkeypatch):
    typed(monkeypatch, "/temperature 0.5", "/hlep", "//etc", "\udc80", KeyboardInterrupt(), "/system Be kind.")
    talk, shown = conversed(Scripted(panel, ["yes"]), screen())
    assert (talk.temperature, talk.system) == (0.5, "Be kind.")
    assert [past.prompt for past in talk.rounds] == ["/etc"]
    assert "did you mean /help?" in shown
    assert "not valid UTF-8" in shown


def test_a_model_without_a_template_is_told_of_once(panel, monkeypatch):
    monkeypatch.setattr(panel.voices["pretrain"], "templated", False)
    typed(monkeypatch)
    assert conversed(panel, screen())[1].count("pretrain has no chat template") == 1


def test_ctrl_c_stops_the_answer_and_not_the_program(panel, monkeypatch):
    class Interrupted(Scripted):
        def _spoken(self, voice, ids, temperature, number, tell):
            def then(piece):
                os.kill(os.getpid(), signal.SIGINT)
                tell(piece)

            return super()._spoken(voice, ids, temperature, number, then)

    before = signal.getsignal(signal.SIGINT)
    typed(monkeypatch, "hello", "/temperature 1")
    talk, shown = conversed(Interrupted(panel, ["one ", "two"]), screen())
    assert talk.rounds[0].answers["pretrain"].text == "one "
    assert list(talk.rounds[0].answers) == ["pretrain"]
    assert talk.temperature == 1, "the conversation went on"
    assert "1 token · stopped" in shown
    assert "not asked" in shown
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_ends_the_program():
    with pytest.raises(KeyboardInterrupt), terminal.stopping():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("it went on")


def test_what_stands_below_an_answer():
    assert footer(Answer("x", 1, True)) == "1 token"
    assert footer(Answer("x", 8, False, score=-1.234)) == "8 tokens · cut off · score -1.23"
    assert "the oldest 2 messages no longer fit" in footer(Answer("x", 8, True, dropped=2))
    assert "no score: too long" in footer(Answer("x", 8, True, unscored="too long"))


def test_the_best_is_the_highest_score_that_is_seen():
    def of(**scores):
        return best(Round("", {name: Answer("", 1, True, score=s) for name, s in scores.items()}, {}))

    assert of(a=1.0, b=2.0, c=None) == {"b"}
    assert of(a=2.001, b=2.002, c=0.0) == {"a", "b"}
    assert of(a=1.0) == of(a=2.001, b=2.002) == of(a=None, b=None) == set()


def test_columns_need_room(panel):
    assert Display(screen(68), ["a", "b"]).wide
    assert not Display(screen(67), ["a", "b"]).wide
    assert not Display(screen(160), ["a"]).wide


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        (["the cat", " sat on", " the mat"], "the cat sat \non the mat"),
        (["a\nbb", "b\n"], "a\nbbb\n"),
        (["x" * 25, " y"], "x" * 25 + " y"),
        (["日本語日", " 日本 b"], "日本語日 \n日本 b"),  # two cells a character
    ],
)
def test_lines_are_broken_between_words(pieces, shown):
    console = screen(12)
    text = Wrapped(console)
    for piece in pieces:
        text.add(piece)
    text.flush()
    assert console.file.getvalue() == shown
