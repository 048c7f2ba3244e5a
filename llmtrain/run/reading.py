"""`llmtrain samples`: answers as a table for a terminal, or as plain lines for a file or another program."""

from collections.abc import Iterator
from dataclasses import replace

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from llmtrain.errors import ConfigError
from llmtrain.run.samples import Asked, Read, Said
from llmtrain.web.visible import visible

COLUMN = 16  # characters that a column needs to stand beside others
LINE_BREAK = " ⏎ "


def chosen(found: Read, prompt: str | None) -> Read:
    """The rows whose prompt holds `prompt`, in any case. Raises ConfigError when none does."""
    if prompt is None:
        return found
    kept = [row for row in found.asked if prompt.casefold() in row.prompt.casefold()]
    if not kept:
        raise ConfigError(f"--prompt={prompt}: none of {len(found.asked)} prompts holds it")
    return replace(found, asked=kept)


def notes(found: Read, rows: int) -> list[str]:
    """What the table does not show."""
    out = [f"{file}: {n} damaged lines left out" for file, n in sorted(found.damaged.items())]
    more = len(found.asked) - rows
    return (
        [*out, f"{more:,} more prompts; --rows={len(found.asked)} shows all, --prompt=TEXT some"] if more > 0 else out
    )


def table(found: Read, rows: int, width: int) -> RenderableType:
    """The first `rows` prompts: answers side by side where that fits `width` columns, else one below the other."""
    asked = found.asked[:rows]
    if found.aligned and (len(found.columns) + 1) * COLUMN <= width:
        view = Table(show_lines=True, width=width)
        for column in ("prompt", *found.columns):
            view.add_column(Text(visible(column)), overflow="fold", ratio=1)
        for row in asked:
            view.add_row(_title(row), *(_cell(row.answers.get(column)) for column in found.columns))
        return view
    return Group(*(part for row in asked for part in (_title(row), _stack(row), Text())))


def plain(found: Read, rows: int) -> Iterator[str]:
    """A line a prompt and a line an answer, whole."""
    for row in found.asked[:rows]:
        yield " ".join(filter(None, (_flat(row.prompt), f"({_flat(row.note)})" if row.note else "")))
        for column, said in row.answers.items():
            yield f"  {_flat(column)}: " + "  ".join(filter(None, (_flat(_whole(said)), _marks(said))))
        yield ""


def _title(row: Asked) -> Text:
    title = Text(visible(row.prompt), style="bold")
    return title.append(f"\n{visible(row.note)}", style="not bold dim") if row.note else title


def _cell(said: Said | None) -> Text:
    if said is None:
        return Text()
    cell, marks = Text(visible(_whole(said))), _marks(said)
    return cell.append(f"\n{marks}", style="dim") if marks else cell


def _stack(row: Asked) -> Table:
    view = Table.grid(padding=(0, 2))
    for style in ("dim", "dim", ""):
        view.add_column(style=style, overflow="fold")
    for column, said in row.answers.items():
        view.add_row(Text(f"  {visible(column)}"), Text(_marks(said)), Text(visible(_whole(said))))
    return view


def _whole(said: Said) -> str:
    return said.text if said.ended else f"{said.text} [...]"


def _marks(said: Said) -> str:
    """score -0.42, level 3."""
    marks = said.marks.items()
    told = (f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in marks)
    return _flat(", ".join(told))


def _flat(text: str) -> str:
    return visible(text).replace("\n", LINE_BREAK)
