"""What a row of data means, whatever file it came from."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Kind(Enum):
    """What a stage wants to read."""

    text = "text"
    chat = "chat"
    ranking = "ranking"
    prompt = "prompt"


@dataclass(frozen=True)
class Message:
    role: str  # system | user | assistant
    content: str


@dataclass(frozen=True)
class Text:
    """A document to pretrain on, or a part of one: `more` says that the next record goes on with it."""

    text: str
    more: bool = False


@dataclass(frozen=True)
class Chat:
    """A demonstration: a conversation whose last message is the assistant's; `meta` is the rest of its row."""

    messages: tuple[Message, ...]
    meta: dict[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Ranking:
    """K answers to one prompt. Rank 1 is best; equal ranks are a tie."""

    prompt: tuple[Message, ...]
    responses: tuple[str, ...]
    ranks: tuple[float, ...]
    annotator: str = ""


@dataclass(frozen=True)
class Prompt:
    """A conversation that ends with the user's message; `meta` is what a grader needs and no model sees."""

    messages: tuple[Message, ...]
    meta: dict[str, Any] = field(default_factory=dict)
