"""Prompts of scripts in, answers out."""

import io
import json

import pytest

from llmtrain.chat.conversation import Conversation
from llmtrain.chat.panel import Panel
from llmtrain.chat.script import answer_all, prompts
from llmtrain.errors import DataError
from llmtrain.web.visible import visible


def test_where_prompts_come_from():
    lines = b"a\n\nb c\r\nd"
    assert list(prompts("x\ny", io.BytesIO(lines))) == [("prompt", "x\ny")]
    assert list(prompts("-", io.BytesIO(lines + b"\n"))) == [("standard input", lines.decode())]
    given = list(prompts(None, io.BytesIO(lines)))
    assert [text for _, text in given] == ["a", "", "b c", "d"]
    assert given[2][0] == "standard input, line 3"


def answered(panel, *asked, lines=False):
    out = io.StringIO()
    talk = Conversation(panel, system=None, temperature=0.0)
    answer_all(talk, [("prompt", text) for text in asked], out, lines=lines)
    return out.getvalue()


def alone(panel):
    return Panel([panel.voices["sft"]], None, max_new_tokens=panel.max_new_tokens, draws=panel.draws)


def said(panel, prompt, label="sft"):
    return Conversation(panel, system=None, temperature=0.0).ask(prompt, lambda *_: None).answers[label]


def test_of_a_lone_model_there_is_the_answer_and_nothing_else(panel):
    one = alone(panel)
    wanted = f"{said(one, 'hello').text}\n{said(one, 'Where?').text}\n"
    assert "\x05" in wanted, "an answer was to hold what a terminal must not get"
    assert answered(one, "hello", "Where?") == visible(wanted)


def test_of_several_each_answer_stands_under_its_name(panel):
    shown = answered(panel, "hello")
    assert shown.startswith("> hello\n\npretrain (")
    answer = said(panel, "hello")
    assert f"\nsft ({answer.tokens} token" in shown
    assert f"score {answer.score:+.2f})\n{visible(answer.text)}\n" in shown


def test_json_lines_hold_a_prompt_each_in_ascii(panel):
    rows = [json.loads(line) for line in answered(panel, "hello", "é\u202e", lines=True).splitlines()]
    assert [row["prompt"] for row in rows] == ["hello", "é\u202e"]
    assert list(rows[0]["answers"]) == ["pretrain", "sft"]
    assert rows[1]["answers"]["sft"]["text"] == said(panel, "é\u202e").text
    assert answered(panel, "é\x9b", lines=True).isascii()


def test_a_line_that_is_no_prompt_is_told_with_its_place(panel):
    talk, out = Conversation(alone(panel), system=None, temperature=0.0), io.StringIO()
    with pytest.raises(DataError, match="standard input, line 2: 'prompt' is empty"):
        answer_all(talk, prompts(None, io.BytesIO(b"hello\n\nmore\n")), out, lines=False)
    assert out.getvalue().startswith(visible(said(alone(panel), "hello").text))


def test_a_prompt_without_room_for_an_answer_is_an_error(panel):
    with pytest.raises(DataError, match="prompt: sft: the prompt has .* tokens"):
        answered(alone(panel), "z" * 900)
