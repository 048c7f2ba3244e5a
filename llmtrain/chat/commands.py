"""The lines of a conversation that are no question: /reset and the like."""

import difflib
from dataclasses import dataclass

from llmtrain.chat.conversation import Conversation, spoken
from llmtrain.chat.panel import heat
from llmtrain.errors import DataError

COMMANDS = {
    "/reset": "forget what was said",
    "/system": "/system TEXT: put this before the conversation; without TEXT, nothing any more",
    "/temperature": "/temperature X: 0 takes the likeliest token, 1 samples as the model would",
    "/save": "/save FILE: write the conversation as JSON; a file that is there stays as it is",
    "/help": "show this",
    "/quit": "leave (also Ctrl-D); Ctrl-C stops an answer",
}
WITHOUT = ("/reset", "/help", "/quit")  # take nothing behind them


@dataclass(frozen=True)
class Done:
    """What a command did, for the eyes; quits: whether the conversation is over."""

    message: str
    quits: bool = False


def is_command(line: str) -> bool:
    """// begins a question that begins with /."""
    return line.startswith("/") and not line.startswith("//")


def obey(line: str, conversation: Conversation) -> Done:
    """Do what a command line says. Raises DataError for one that cannot be."""
    name, _, rest = line.strip().partition(" ")
    rest = rest.strip()
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        raise DataError(f"{name}: there is no such command; " + (f"did you mean {near[0]}?" if near else "see /help"))
    if rest and name in WITHOUT:
        raise DataError(f"{name} takes nothing behind it; // begins a question that begins with /")
    match name:
        case "/reset":
            conversation.reset()
            return Done("forgotten; system prompt and temperature stay")
        case "/system":
            conversation.system = spoken(rest, "system") if rest else None
            return Done("system prompt set; it counts from the next question" if rest else "no system prompt")
        case "/temperature":
            conversation.temperature = _heat(rest)
            return Done(f"temperature {conversation.temperature:g}")
        case "/save":
            return Done(f"saved: {conversation.save(rest)}")
        case "/quit":
            return Done("", quits=True)
    return Done(help_text())


def help_text() -> str:
    """The commands, one a line."""
    width = max(map(len, COMMANDS))
    lines = [f"{name:<{width}}  {text.removeprefix(f'{name} ')}" for name, text in COMMANDS.items()]
    return "\n".join([*lines, f"{'//TEXT':<{width}}  ask TEXT with one / before it"])


def _heat(text: str) -> float:
    try:
        return heat(float(text))
    except ValueError:
        raise DataError(f"/temperature: {text!r} is no number; write /temperature 0.7") from None
    except DataError as error:
        raise DataError(f"/temperature: {error}") from None
