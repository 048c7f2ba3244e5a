"""A rendered conversation, cut into the pieces that are encoded each on its own.

The template is rendered with marks in place of the contents. So contents and template text are told apart: contents
are encoded with special tokens split, the template's own text with them. The text is cut around the contents and
where the prompt of each assistant turn ends (rendered with add_generation_prompt); every piece is encoded alone. That
makes the ids of a prompt a prefix of the ids of prompt and answer (correctness A5), and the mask exact to the token
(A3).
"""

import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from jinja2 import Environment, TemplateError
from transformers import PreTrainedTokenizerBase

from llmtrain.errors import DataError

# An em space on each side shows whether the template trims contents; no template writes one itself.
SPACE = "\u2003"
MARK = re.compile(f"({SPACE}?)\ue000(\\d+)\ue001({SPACE}?)")


# What a template may use. Real ones take a millisecond, make some hundred characters and hold no number above 99.
SECONDS, LENGTH, DIGITS = 5.0, 2**20, 6


class Turn(Protocol):
    """What is read of a message (data.records.Message; this room stands below that one)."""

    @property
    def role(self) -> str: ...
    @property
    def content(self) -> str: ...


@dataclass(frozen=True)
class Said:
    role: str
    content: str


@dataclass(frozen=True)
class Piece:
    """A stretch of a rendered conversation that is encoded on its own."""

    text: str
    control: bool  # the template's own text, in which control tokens are control tokens
    counts: bool  # the assistant has to produce it
    closes: bool = False  # it stands behind an answer: its tokens up to the first end token count


def pieces(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Turn], prompt: bool = False) -> list[Piece]:
    """A conversation cut into pieces; with `prompt` it ends with the header of the answer to come.

    DataError if the template refuses it, hides a message or breaks the prefix rule.
    """
    full = _render(tokenizer, messages, prompt)
    starts = []
    for turn, message in enumerate(messages):
        if message.role == "assistant":
            before = _render(tokenizer, messages[:turn], True)
            if not full.startswith(before):
                raise DataError(
                    f"the chat template renders what precedes message {turn + 1} differently once it is there; "
                    "train on single-turn conversations or use another template"
                )
            starts.append(len(before))
    return _cut(full, messages, starts)


def answer_pieces(tokenizer: PreTrainedTokenizerBase, text: str) -> list[Piece]:
    """What the assistant produces to say `text`: all that stands between the generation prompt and the end token."""
    found = pieces(tokenizer, [Said("user", "?"), Said("assistant", text)])
    return [piece for piece in found if piece.counts or piece.closes]


def _render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Turn], prompt: bool) -> str:
    roles = tuple(message.role for message in messages)
    return _rendered(tokenizer, str(tokenizer.chat_template), roles, prompt)


@lru_cache(maxsize=4096)  # contents are marks, so all conversations of the same roles are one text
def _rendered(tokenizer: PreTrainedTokenizerBase, template: str, roles: tuple[str, ...], prompt: bool) -> str:
    marked = [{"role": role, "content": f"{SPACE}\ue000{number}\ue001{SPACE}"} for number, role in enumerate(roles)]
    try:
        check_small(template)
        found = bounded(lambda: tokenizer.apply_chat_template(marked, tokenize=False, add_generation_prompt=prompt))
    except Exception as error:  # a template is foreign code in a sandbox: it may raise anything
        raise DataError(f"the chat template refuses a conversation of {', '.join(roles[:9])}: {error}") from error
    if len(found) > LENGTH:
        raise DataError(f"the chat template makes more than {LENGTH} characters of {', '.join(roles[:9])}")
    return str(found)


def check_small(template: str) -> None:
    """Raises TemplateError for what blows up inside one operation, where nothing can stop it."""
    for line, kind, value in Environment().lex(template):
        if value == "**" or (kind == "integer" and len(value) > DIGITS):
            raise TemplateError(f"line {line}: {value[:20]} has no place in a chat template")


def bounded(work: Callable[[], Any]) -> Any:
    """work(), a rendering; raises TemplateError after SECONDS.

    A template compiles to Python, whose every line is watched: that stops loops in any thread, unlike an alarm.
    """
    deadline = time.monotonic() + SECONDS

    def watch(*_: object) -> Any:
        if time.monotonic() > deadline:
            raise TemplateError(f"it takes more than {SECONDS:g} seconds")
        return watch

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        return work()
    finally:
        sys.settrace(before)


def _cut(full: str, messages: Sequence[Turn], starts: list[int]) -> list[Piece]:
    """Pieces of the text `full`; at each offset of `starts` the assistant begins to produce."""
    marks = list(MARK.finditer(full))
    if [int(mark[2]) for mark in marks] != list(range(len(messages))):
        raise DataError(
            f"the chat template does not show each message of {', '.join(m.role for m in messages)} once and in order; "
            "use another template"
        )
    found: list[Piece] = []
    at, counts, waiting = 0, False, list(starts)
    for match in [*marks, None]:
        stop = match.start() if match else len(full)
        closes, counts = counts, False
        if waiting and waiting[0] <= stop:
            start = waiting.pop(0)
            found.append(Piece(full[at:start], True, False, closes))
            at, counts, closes = start, True, False
        found.append(Piece(full[at:stop], True, counts, closes))
        if match:
            found.append(Piece(_content(match, messages), False, counts))
            at = match.end()
    return [piece for piece in found if piece.text or piece.closes]


def _content(match: re.Match, messages: Sequence[Turn]) -> str:
    """The content behind a mark, trimmed where the template trims."""
    text = messages[int(match[2])].content
    text = text if match[1] else text.lstrip()
    return text if match[3] else text.rstrip()
