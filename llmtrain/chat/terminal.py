"""A conversation in the terminal: questions by hand, answers streamed, commands with a slash."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from rich.console import Console

from llmtrain.chat import commands
from llmtrain.chat.conversation import Conversation
from llmtrain.chat.display import Display
from llmtrain.chat.panel import Panel, Stop, Voice
from llmtrain.errors import DataError

PROMPT = "> "


def converse(conversation: Conversation, console: Console) -> None:
    """Ask and answer until /quit or Ctrl-D."""
    with contextlib.suppress(ImportError):  # not on every system; with it, lines can be edited and come back
        import readline  # noqa: F401
    display = Display(console, list(conversation.panel.voices))
    for line in introduction(conversation.panel):
        display.say(line)
    while (typed := _line()) is not None:
        try:
            if commands.is_command(typed):
                done = commands.obey(typed, conversation)
                if done.quits:
                    return
                display.say(done.message)
            elif typed.strip():
                _ask(typed[1:] if typed.startswith("//") else typed, conversation, display)
        except DataError as error:
            display.say(str(error), "red")


def introduction(panel: Panel) -> list[str]:
    """Who is here, and what one should know of them before the first question."""
    lines = [", ".join(described(voice) for voice in panel.voices.values())]
    lines += [f"scored by {panel.scorer.label}"] if panel.scorer else []
    for voice in panel.voices.values():
        if not voice.templated:
            lines.append(
                f"{voice.label} has no chat template: all that was said is one text to it, which it goes on with"
            )
    return [*lines, "/help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves"]


def described(voice: Voice) -> str:
    """`ppo (1.1 M parameters, 512 tokens)`"""
    size = sum(p.numel() for p in voice.model.parameters())
    scale, unit = next((s, u) for s, u in ((10**9, "G"), (10**6, "M"), (10**3, "k"), (1, "")) if size >= s)
    room = f", {voice.room} tokens" if voice.room else ""
    return f"{voice.label} ({size / scale:.3g} {unit} parameters{room})".replace("  ", " ")


def _line() -> str | None:
    """What was typed, None at the end."""
    while True:
        try:
            return input(PROMPT)
        except KeyboardInterrupt:
            print("\nCtrl-D or /quit leaves")
        except EOFError:
            print()
            return None


def _ask(line: str, conversation: Conversation, display: Display) -> None:
    with stopping() as check, display.streaming() as tell:

        def told(label: str, piece: str) -> None:
            tell(label, piece)
            check()

        found = conversation.ask(line, told)
    display.finished(found)


@contextlib.contextmanager
def stopping() -> Iterator[Callable[[], None]]:
    """Inside the block Ctrl-C makes what it gives raise Stop; a second one ends the program as ever."""
    came: list[int] = []

    def heard(number: int, _: FrameType | None) -> None:
        came.append(number)
        signal.signal(signal.SIGINT, before)

    def check() -> None:
        if came:
            raise Stop

    before = signal.signal(signal.SIGINT, heard)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
