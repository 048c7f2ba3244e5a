"""Answers for scripts: prompts from the command line or standard input, answers to standard output."""

import json
from collections.abc import Iterable, Iterator
from typing import BinaryIO, TextIO

from llmtrain.chat.conversation import Conversation
from llmtrain.chat.display import footer
from llmtrain.errors import DataError
from llmtrain.web.visible import visible


def prompts(given: str | None, stdin: BinaryIO) -> Iterator[tuple[str, str]]:
    """(where it stands, prompt): the one that is given; all of standard input for `-`; else each line of it."""
    if given == "-":
        yield "standard input", _text(stdin.read())
    elif given is not None:
        yield "prompt", given
    else:
        for number, line in enumerate(stdin, 1):
            yield f"standard input, line {number}", _text(line)


def _text(raw: bytes) -> str:
    """Without the end of its last line. What is no UTF-8 becomes lone surrogates, which no prompt may hold."""
    return raw.decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")


def answer_all(conversation: Conversation, asked: Iterable[tuple[str, str]], out: TextIO, *, lines: bool) -> None:
    """Answer each prompt as a conversation of its own; lines: as JSON lines. Raises DataError for what is no prompt.

    Of a lone model without a judge there is the answer alone, as it is written.
    """
    bare = len(conversation.panel.voices) == 1 and conversation.panel.scorer is None and not lines
    for number, (place, prompt) in enumerate(asked):
        conversation.reset()

        def tell(_: str, piece: str) -> None:
            if bare:
                out.write(visible(piece))
                out.flush()

        try:
            found = conversation.ask(prompt, tell)
        except DataError as error:
            raise DataError(f"{place}: {error}") from None
        for fault in found.faults.values():
            raise DataError(f"{place}: {fault}")
        if lines:
            out.write(json.dumps(found.row()) + "\n")  # ASCII: no byte of a model's reaches a terminal
        elif bare:
            out.write("\n")
        else:
            out.write("\n" * bool(number) + f"> {visible(prompt)}\n")
            for label, answer in found.answers.items():
                out.write(f"\n{label} ({footer(answer)})\n{visible(answer.text)}\n")
        out.flush()
