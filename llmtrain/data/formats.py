"""Row -> record, by the columns that a row has. The formats of the table FORMATS are what users bring."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llmtrain.data import validate
from llmtrain.data.files import MORE
from llmtrain.data.records import Chat, Kind, Message, Prompt, Ranking, Text
from llmtrain.data.validate import BadRow

Record = Text | Chat | Ranking | Prompt
Messages = tuple[Message, ...]

# Anthropic HH: "\n\nHuman: ...\n\nAssistant: ..." in one text
TURN = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
SPEAKER = {"Human": "user", "Assistant": "assistant"}


def transcript(value: str, name: str) -> Messages:
    """An HH transcript as messages. A closing, empty "Assistant:" (a prompt) is left out."""
    parts = TURN.split(value.strip())
    pairs = list(zip(parts[1::2], parts[2::2], strict=True))
    if pairs[-1][0] == "Assistant" and not pairs[-1][1].strip() and name == "prompt":
        pairs.pop()
    messages = tuple(Message(SPEAKER[who], validate.text(said.strip(), f"{name}: {who}")) for who, said in pairs)
    return validate.ordered(messages, name)


def context(value: object, name: str) -> Messages:
    """A prompt: plain text, HH transcript, or messages."""
    if not isinstance(value, str):
        messages = validate.conversation(value, name)
    elif TURN.match(value.strip()):
        messages = transcript(value, name)
    else:
        messages = (Message("user", validate.text(value, name)),)
    return validate.question(messages, name)


def side(value: object, name: str) -> tuple[Messages, str]:
    """chosen or rejected: (the conversation before the answer, where the column holds it; the answer)."""
    if isinstance(value, str) and not TURN.match(value.strip()):
        return (), validate.text(value, name)
    if isinstance(value, str):
        messages = transcript(value, name)
    elif isinstance(value, (list, tuple)) and len(value) > 1:
        messages = validate.conversation(value, name)
    else:
        messages = (validate.message(value[0] if isinstance(value, (list, tuple)) and value else value, name),)
    if messages[-1].role != "assistant":
        raise BadRow(f"'{name}' does not end with an assistant message")
    return messages[:-1], messages[-1].content


def parse_pair(row: Mapping) -> Ranking:
    chosen_context, chosen = side(validate.field(row, "chosen"), "chosen")
    rejected_context, rejected = side(validate.field(row, "rejected"), "rejected")
    if chosen_context != rejected_context:
        raise BadRow("the prompts of chosen and rejected differ")
    if chosen.strip() == rejected.strip():
        raise BadRow("chosen and rejected are identical")
    prompt = validate.question(chosen_context, "chosen") if chosen_context else ()
    for name in ("conversations", "prompt"):
        if row.get(name) in (None, "", []):
            continue
        given = context(row[name], name)
        if prompt and said(given) != said(prompt)[: len(said(given))]:
            raise BadRow(f"chosen and rejected do not begin with '{name}'", validate.shown(given[-1].content, 60))
        prompt = prompt or given
    if not prompt:
        raise BadRow("no prompt", "neither a column 'prompt' nor a conversation in 'chosen'")
    return Ranking(with_system(row, prompt), (chosen, rejected), (1.0, 2.0))


def said(messages: Messages) -> list[tuple[str, str]]:
    """What two conversations are compared by: the turns without white space around them."""
    return [(m.role, m.content.strip()) for m in messages if m.role != "system"]


def with_system(row: Mapping, messages: Messages) -> Messages:
    """The conversation behind the system message that a column `system` gives."""
    if not row.get("system"):
        return messages
    first = Message("system", validate.text(row["system"], "system"))
    if messages[0].role != "system":
        return (first, *messages)
    if messages[0].content.strip() != first.content.strip():
        raise BadRow("two system messages", "one in 'system', another in the conversation")
    return messages


def parse_ranking(row: Mapping) -> Ranking:
    answers, given = validate.field(row, "responses"), validate.field(row, "ranks")
    if not isinstance(answers, list) or not isinstance(given, list):
        raise BadRow("'responses' and 'ranks' are not both lists")
    texts = tuple(validate.text(answer, "responses") for answer in answers)
    numbers = tuple(validate.number(rank, "ranks") for rank in given)
    validate.responses(texts, numbers)
    places = {number: float(place) for place, number in enumerate(sorted(set(numbers)), 1)}
    ranks = tuple(places[number] for number in numbers)  # [0, 1] and [2, 3] are [1, 2]: what counts is the order
    annotator = row.get("annotator") or ""
    prompt = with_system(row, context(validate.field(row, "prompt"), "prompt"))
    return Ranking(prompt, texts, ranks, str(annotator))


def parse_alpaca(row: Mapping) -> Chat:
    """instruction, input joined to it by a newline where there is one, output; optional system and history."""
    asked = validate.text(validate.field(row, "instruction"), "instruction")
    if row.get("input"):
        asked = f"{asked}\n{validate.text(row['input'], 'input')}"
    messages: list[Message] = []
    history = row.get("history") or ()
    for turn in history if isinstance(history, (list, tuple)) else [history]:
        if not isinstance(turn, (list, tuple)) or len(turn) != 2:
            raise BadRow("'history' is not a list of [question, answer]")
        messages += [Message("user", validate.text(turn[0], "history"))]
        messages += [Message("assistant", validate.text(turn[1], "history"))]
    messages += [Message("user", asked)]
    if "output" in row:
        messages += [Message("assistant", validate.text(validate.field(row, "output"), "output"))]
    return Chat(with_system(row, tuple(messages)))


def parse_completion(row: Mapping) -> Chat:
    before, answer = side(validate.field(row, "completion"), "completion")
    if before:
        raise BadRow("'completion' holds more than the answer")
    asked = with_system(row, context(validate.field(row, "prompt"), "prompt"))
    return Chat((*asked, Message("assistant", answer)))


@dataclass(frozen=True)
class Format:
    name: str
    needs: tuple[str, ...]  # columns it is recognised by
    uses: tuple[str, ...]  # further columns it reads
    kinds: tuple[Kind, ...]
    parse: Callable[[Mapping], Record]


def _column(name: str) -> Format:
    def parse(row: Mapping) -> Text:
        return Text(validate.text(validate.field(row, name), name), MORE in row)

    return Format("text", (name,), (), (Kind.text,), parse)


def _messages(name: str) -> Format:
    def parse(row: Mapping) -> Chat:
        return Chat(with_system(row, validate.conversation(validate.field(row, name), name)))

    return Format(f"chat in '{name}'", (name,), ("system",), (Kind.chat, Kind.text, Kind.prompt), parse)


def _prompt(row: Mapping) -> Prompt:
    return Prompt(with_system(row, context(validate.field(row, "prompt"), "prompt")))


PREFERENCE = (Kind.ranking, Kind.prompt)
DEMONSTRATION = (Kind.chat, Kind.text, Kind.prompt)

# The first that fits is taken, so the more telling columns stand above.
FORMATS = (
    _column("text"),
    Format("K-way ranking", ("prompt", "responses", "ranks"), ("annotator", "system"), PREFERENCE, parse_ranking),
    Format("preference pair", ("chosen", "rejected"), ("prompt", "conversations", "system"), PREFERENCE, parse_pair),
    _messages("messages"),
    _messages("conversations"),
    Format("Alpaca", ("instruction", "output"), ("input", "system", "history"), DEMONSTRATION, parse_alpaca),
    Format("prompt and completion", ("prompt", "completion"), ("system",), DEMONSTRATION, parse_completion),
    Format("instruction", ("instruction",), ("input", "system", "history"), (Kind.prompt,), parse_alpaca),
    Format("prompt", ("prompt",), ("system",), (Kind.prompt,), _prompt),
)


def candidates(kind: Kind, text_column: str | None) -> tuple[Format, ...]:
    """The formats that can give `kind`; a named text column is the only one then."""
    if text_column is not None:
        return (_column(text_column),)
    return tuple(f for f in FORMATS if kind in f.kinds)


def recognise(columns: Iterable[str], formats: tuple[Format, ...]) -> Format | None:
    """The first format whose needed columns are all there."""
    have = set(columns)
    return next((f for f in formats if have.issuperset(f.needs)), None)


def record(row: Mapping, form: Format, kind: Kind) -> Record:
    """One row as what the stage wants. BadRow when it cannot be that."""
    found = form.parse(row)
    if kind is Kind.prompt:
        return Prompt(_asked(found), _rest(row, form))
    if isinstance(found, Ranking) and len(set(found.ranks)) < 2:
        raise BadRow("all responses are tied", "no pair in it to learn from")
    if isinstance(found, Chat):
        if found.messages[-1].role != "assistant":
            raise BadRow("no assistant answer at the end of the conversation")
        if kind is Kind.text:
            return Text("\n\n".join(m.content for m in found.messages))
        return Chat(found.messages, _rest(row, form))
    return found


def _rest(row: Mapping, form: Format) -> dict[str, Any]:
    """What a row holds beside its format: for graders and judges, no model sees it."""
    rest = {k: v for k, v in row.items() if k not in form.needs + form.uses and k != "meta"}
    extra = row.get("meta")
    return {**rest, **extra} if isinstance(extra, Mapping) else rest


def _asked(found: Record) -> Messages:
    """What was asked: the conversation without its closing answer."""
    if isinstance(found, Ranking):
        return found.prompt
    if isinstance(found, Text):
        raise BadRow("a text has no prompt")
    messages = found.messages[:-1] if found.messages[-1].role == "assistant" else found.messages
    return validate.question(messages, "messages")
