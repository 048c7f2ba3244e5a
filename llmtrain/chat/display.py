"""Answers for a terminal: streamed side by side where it is wide enough, else one below the other.

What a model wrote is shown through web/visible.py alone and never read as markup (reliability S19).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from llmtrain.chat.conversation import Round
from llmtrain.chat.panel import Answer
from llmtrain.web.visible import visible

NARROWEST = 34  # characters of a column; below it answers stand one below the other
EVERY = 0.05  # seconds between two pictures of growing columns
NAME, QUIET, BEST = "bold cyan", "dim", "bold green"


def footer(answer: Answer) -> str:
    """Length, how it ended and the score, in a line."""
    parts = [f"{answer.tokens} token{'s' * (answer.tokens != 1)}"]
    parts += ["stopped"] if answer.stopped else [] if answer.ended else ["cut off"]
    parts += [f"score {answer.score:+.2f}"] if answer.score is not None else []
    parts += [f"no score: {visible(answer.unscored)}"] if answer.unscored else []
    parts += [f"the oldest {answer.dropped} messages no longer fit, left out"] if answer.dropped else []
    return " · ".join(parts)


def best(found: Round) -> set[str]:
    """The labels with the highest score as it is shown, unless all have it."""
    scores = {label: round(a.score, 2) for label, a in found.answers.items() if a.score is not None}
    highest = {label for label, score in scores.items() if score == max(scores.values())}
    return highest if len(highest) < len(scores) else set()


class Wrapped:
    """A growing text on a console, its lines broken between words; a word is shown when it is whole."""

    def __init__(self, console: Console):
        self.console, self.word, self.at = console, "", 0  # at: cells of the line that are taken

    def add(self, text: str) -> None:
        for char in text:
            if char.isspace():
                self.flush()
                self._put(char, 0 if char == "\n" else self.at + 1)
            else:
                self.word += char

    def flush(self) -> None:
        """Show the word that is held back."""
        size = cell_len(self.word)
        if self.at and self.at + size > self.console.width:
            self._put("\n", 0)
        self._put(self.word, (self.at + size) % self.console.width)
        self.word = ""

    def _put(self, text: str, at: int) -> None:
        self.console.print(Text(text), end="", soft_wrap=True)
        self.at = at


class Display:
    """Shows the rounds of a conversation on a console."""

    def __init__(self, console: Console, labels: Sequence[str]):
        self.console, self.labels = console, list(labels)

    @property
    def wide(self) -> bool:
        return len(self.labels) > 1 and self.console.width >= NARROWEST * len(self.labels)

    def say(self, text: str, style: str = QUIET) -> None:
        """A line of the program's own."""
        self.console.print(Text(visible(text), style))

    @contextmanager
    def streaming(self) -> Iterator[Callable[[str, str], None]]:
        """Inside the block answers grow on the screen: call what it gives with (label, piece)."""
        if not self.wide:
            self._last: str | None = None
            self._below = Wrapped(self.console)
            yield self._add
            self._below.flush()
            return
        texts = dict.fromkeys(self.labels, "")
        with Live(console=self.console, auto_refresh=False, transient=True) as live:
            shown = [0.0]

            def tell(label: str, piece: str) -> None:
                texts[label] += visible(piece)
                if piece and time.monotonic() - shown[0] > EVERY:
                    shown[0] = time.monotonic()
                    live.update(self._columns({key: Text(text) for key, text in texts.items()}), refresh=True)

            yield tell

    def _add(self, label: str, piece: str) -> None:
        if label != self._last:
            self._below.flush()
            self._below.at = 0
            if len(self.labels) > 1:
                self.console.print(Text(f"\n\n{label}" if self._last else label, NAME))
            self._last = label
        self._below.add(visible(piece))

    def finished(self, found: Round) -> None:
        """Show what stands below a round, and in columns the round itself."""
        if self.wide:
            self.console.print(self._columns({label: self._cell(found, label) for label in self.labels}))
            return
        if self._last:
            self.console.print()
        for label in self.labels:
            line = self._end(found, label)
            name = f"{label}: " if len(self.labels) > 1 else ""
            if line.plain:
                self.console.print(Text(name, QUIET).append_text(line))
        self.console.print()

    def _columns(self, cells: dict[str, RenderableType]) -> Table:
        table = Table(box=None, expand=True, padding=(0, 2, 0, 0), show_edge=False)
        for label in self.labels:
            table.add_column(Text(label, NAME), ratio=1, overflow="fold")
        table.add_row(*(cells[label] for label in self.labels))
        return table

    def _cell(self, found: Round, label: str) -> RenderableType:
        said = found.answers[label].text if label in found.answers else ""
        return Group(Text(visible(said)), self._end(found, label), Text(""))

    def _end(self, found: Round, label: str) -> Text:
        if label in found.faults:
            return Text(visible(found.faults[label]), "red")
        if label not in found.answers:
            return Text("not asked", QUIET)
        return Text(footer(found.answers[label]), BEST if label in best(found) else QUIET)
