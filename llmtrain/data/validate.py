"""What one row may hold. Every fault is a BadRow with a short reason; sources.py adds the file and the line."""

import math
from collections.abc import Mapping

from llmtrain.data.records import Message

ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
}


class BadRow(ValueError):
    """One row is wrong: `reason` is the class of the fault (rows are counted by it), `detail` what was seen."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


def field(row: Mapping, name: str) -> object:
    """row[name], where a missing key and a null are faults."""
    if name not in row:
        raise BadRow(f"missing key '{name}'", f"the row has {sorted(map(str, row))[:12]}")
    if row[name] is None:
        raise BadRow(f"'{name}' is null")
    return row[name]


def text(value: object, name: str) -> str:
    """`value` as a text that a tokenizer can take: not empty, valid UTF-8, no NUL."""
    if not isinstance(value, str):
        raise BadRow(f"'{name}' is not a text", f"it is {shown(value, 60)} ({type(value).__name__})")
    if not value or value.isspace():
        raise BadRow(f"'{name}' is empty")
    if "\0" in value:
        raise BadRow(f"'{name}' holds a NUL character")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:  # bytes that are no UTF-8 arrive as lone surrogates too, see files.py
        raise BadRow(f"'{name}' is not valid UTF-8 or holds a lone surrogate", f"at character {error.start}") from None
    return value


def message(value: object, name: str) -> Message:
    """{"role", "content"} or ShareGPT's {"from", "value"}."""
    if not isinstance(value, Mapping):
        raise BadRow(f"'{name}' is not a message", shown(value, 60))
    role_key, content_key = ("from", "value") if "from" in value else ("role", "content")
    role = text(field(value, role_key), f"{name}.{role_key}")
    if role not in ROLES:
        raise BadRow("unknown role", f"{shown(role, 40)}; known are {', '.join(ROLES)}")
    return Message(ROLES[role], text(field(value, content_key), f"{name}.{content_key}"))


def conversation(value: object, name: str) -> tuple[Message, ...]:
    """A list of messages in order."""
    if not isinstance(value, (list, tuple)) or not value:
        raise BadRow(f"'{name}' is not a list of messages", shown(value, 60))
    return ordered(tuple(message(item, name) for item in value), name)


def ordered(messages: tuple[Message, ...], name: str) -> tuple[Message, ...]:
    """An optional system message, then user and assistant in turn, the user first: what every chat template takes."""
    turns = messages[1:] if messages and messages[0].role == "system" else messages
    expected = [("user", "assistant")[n % 2] for n in range(len(turns))]
    if not turns:
        raise BadRow(f"'{name}' has no user message")
    if [turn.role for turn in turns] != expected:
        roles = ", ".join(m.role for m in messages[:8])
        raise BadRow(f"'{name}' does not alternate user and assistant, the user first", roles)
    return messages


def question(messages: tuple[Message, ...], name: str) -> tuple[Message, ...]:
    """A conversation that waits for an answer."""
    if not messages or messages[-1].role != "user":
        raise BadRow(f"'{name}' does not end with a user message")
    return messages


def responses(texts: tuple[str, ...], ranks: tuple[float, ...]) -> None:
    """K >= 2 answers, a finite rank each; the same text cannot be better than itself."""
    if len(texts) != len(ranks):
        raise BadRow("not as many ranks as responses", f"{len(ranks)} and {len(texts)}")
    if len(texts) < 2:
        raise BadRow("fewer than two responses")
    seen: dict[str, float] = {}
    for answer, rank in zip(texts, ranks, strict=True):
        if seen.setdefault(answer.strip(), rank) != rank:
            raise BadRow("identical responses with different ranks", shown(answer, 60))


def number(value: object, name: str) -> float:
    """A finite number; true and false are none."""
    try:
        found = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    except OverflowError:  # an integer beyond every float
        found = math.inf
    if not math.isfinite(found):
        raise BadRow(f"'{name}' holds something that is not a finite number", shown(value, 40))
    return found


def shown(value: object, width: int) -> str:
    """repr, cut to `width`, so that no escape sequence of the data reaches a terminal."""
    line = ascii(value) if not isinstance(value, str) else repr(value)
    line = line.encode("utf-8", "backslashreplace").decode("utf-8")
    return line if len(line) <= width else line[: width - 3] + "..."
