"""What a stage will see, for people: counts, lengths, and rows with their loss mask and control tokens visible."""

import numpy as np
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text as Styled
from transformers import PreTrainedTokenizerBase

from llmtrain.data.cache import Table
from llmtrain.data.records import Kind

COUNTS, CONTEXT, CONTROL = "green", "dim", "bold magenta"
BINS = 8
BAR = 40


def show(table: Table, kind: Kind, tokenizer: PreTrainedTokenizerBase, console: Console, rows: int = 1) -> None:
    """Print the table's counts, a histogram of tokens per row, and its first `rows` rows."""
    lengths = row_lengths(table, kind)
    console.print(summary(table, lengths))
    console.print(histogram(lengths))
    legend = (
        ("the model has to produce this", COUNTS),
        "  ",
        ("it reads this", CONTEXT),
        "  ",
        ("control token", CONTROL),
    )
    console.print(Styled.assemble(*legend))
    for index in range(min(rows, len(table))):
        for title, line in _row(table, kind, tokenizer, index):
            console.rule(f"row {int(table.column('row')[index][0])}: {title}", align="left")
            console.print(line, soft_wrap=True)


def row_lengths(table: Table, kind: Kind) -> np.ndarray:
    """[rows] tokens of each row; of a ranking, of the prompt and its longest response."""
    if kind is not Kind.ranking:
        return table.lengths("ids")
    longest = [int(table.column("response_lengths")[row].max()) for row in range(len(table))]
    return table.lengths("prompt") + np.array(longest, dtype=np.int64)


def summary(table: Table, lengths: np.ndarray) -> Grid:
    """Counts of rows and tokens."""
    grid = Grid(show_header=False, box=None)
    low, median, high = np.percentile(lengths, [0, 50, 100]).astype(int)
    facts = [("rows", f"{len(table):,}"), ("tokens", f"{int(lengths.sum()):,}")]
    facts += [("tokens per row", f"{low:,} to {high:,}, median {median:,}"), ("cut at max_length", f"{table.cut:,}")]
    facts += [(f"dropped: {reason}", f"{count:,}") for reason, count in table.dropped.items()]
    for name, value in facts:
        grid.add_row(name, value)
    return grid


def histogram(lengths: np.ndarray) -> Styled:
    """Rows by their number of tokens, as bars."""
    edges = np.unique(np.linspace(lengths.min(), lengths.max() + 1, BINS + 1).round().astype(int))
    counts, _ = np.histogram(lengths, edges)
    line = Styled()
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        bar = "#" * round(BAR * count / counts.max())
        line.append(f"{low:>9,} - {high - 1:<9,} {bar} {count:,}\n")
    return line


def _row(table: Table, kind: Kind, tokenizer: PreTrainedTokenizerBase, index: int) -> list[tuple[str, Styled]]:
    if kind is Kind.ranking:
        prompt, lengths = table.column("prompt")[index], table.column("response_lengths")[index]
        answers = np.split(table.column("responses")[index], np.cumsum(lengths)[:-1])
        shown = [("prompt", painted(tokenizer, prompt, np.zeros(len(prompt), dtype=bool)))]
        for ids, rank in zip(answers, table.column("ranks")[index], strict=True):
            shown.append((f"rank {rank:g}", painted(tokenizer, ids, np.ones(len(ids), dtype=bool))))
        return shown
    ids = table.column("ids")[index]
    mask = table.column("mask")[index] if kind is Kind.chat else np.full(len(ids), kind is Kind.text)
    return [(f"{len(ids)} tokens", painted(tokenizer, ids, mask))]


def painted(tokenizer: PreTrainedTokenizerBase, ids: np.ndarray, mask: np.ndarray) -> Styled:
    """Decoded stretches of one colour; control tokens are decoded alone, so that they differ from the same text."""
    specials = set(tokenizer.all_special_ids)
    line, start = Styled(), 0
    for stop in range(1, len(ids) + 1):
        same = stop < len(ids) and mask[stop] == mask[start]
        if same and int(ids[stop]) not in specials and int(ids[start]) not in specials:
            continue
        stretch = [int(token) for token in ids[start:stop]]
        style = COUNTS if mask[start] else CONTEXT
        if stretch[0] in specials:
            style = f"{CONTROL} underline" if mask[start] else CONTROL
        line.append(visible(str(tokenizer.decode(stretch))), style)
        start = stop
    return line


def visible(text: str) -> str:
    """Text without a character that a terminal acts on, but for the line feed."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
