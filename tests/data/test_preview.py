import io

import numpy as np
import pytest
from rich.console import Console

from llmtrain.data import cache, preview
from llmtrain.data.records import Chat, Kind, Message, Prompt, Ranking, Text
from llmtrain.data.sources import gather

EVIL = "\x1b[31mred\x07 [bold]x[/bold] <|end|>"
Q, A = Message("user", EVIL), Message("assistant", "because")
RECORDS = {
    Kind.text: Text(EVIL),
    Kind.chat: Chat((Q, A)),
    Kind.ranking: Ranking((Q,), ("good", EVIL), (1.0, 2.0)),
    Kind.prompt: Prompt((Q,)),
}


@pytest.mark.parametrize("kind", list(Kind))
def test_shows_every_kind_with_escapes_neutralised(bpe, tmp_path, kind):
    table = cache.tokenised(gather([RECORDS[kind]] * 3, "r"), kind, bpe, 100, tmp_path)
    output = io.StringIO()
    preview.show(table, kind, bpe, Console(file=output, width=100), rows=2)
    shown = output.getvalue()
    assert "\\x1b[31mred\\x07 [bold]x[/bold] <|end|>" in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "row 1" in shown
    assert "row 2" not in shown


def test_colours_follow_the_mask_and_controls_stand_out(bpe):
    because = bpe("because")["input_ids"]
    ids = [3, *because, 1, 4, *because, 1]
    mask = np.array([False] * (len(because) + 3) + [True] * (len(because) + 1))
    line = preview.painted(bpe, ids, mask)
    spans = [(line.plain[s.start : s.end], str(s.style)) for s in line.spans]
    assert spans == [
        ("<|user|>", preview.CONTROL), ("because", preview.CONTEXT), ("<|end|>", preview.CONTROL),
        ("<|assistant|>", preview.CONTROL), ("because", preview.COUNTS), ("<|end|>", f"{preview.CONTROL} underline"),
    ]  # fmt: skip


def test_histogram_counts_every_row():
    line = preview.histogram(np.array([1, 1, 5, 100])).plain
    assert sum(int(row.split()[-1]) for row in line.splitlines()) == 4
    assert preview.histogram(np.array([7, 7])).plain.split()[-1] == "2"


def test_row_lengths_of_a_ranking_are_prompt_and_longest_response(bpe, tmp_path):
    record = Ranking((Message("user", "why?"),), ("good", "bad answer because"), (1.0, 2.0))
    table = cache.tokenised(gather([record], "r"), Kind.ranking, bpe, 100, tmp_path)
    expected = len(bpe("why?")["input_ids"]) + 3 + len(bpe("bad answer because")["input_ids"]) + 1
    assert preview.row_lengths(table, Kind.ranking).tolist() == [expected]


def shown(table, kind, bpe, **options):
    output = io.StringIO()
    preview.show(table, kind, bpe, Console(file=output, width=200), **options)
    return output.getvalue()


def test_a_long_document_shows_its_ends(bpe, tmp_path):
    words = " ".join(str(n) for n in range(5000))
    table = cache.tokenised(gather([Text(words)], "r"), Kind.text, bpe, 100, tmp_path)
    text = shown(table, Kind.text, bpe)
    left = len(table.column("ids")[0]) - preview.HEAD - preview.TAIL
    assert f"... {left:,} more tokens ..." in text
    assert "0 1 2 3" in text and "4998 4999" in text and "2500" not in text
    assert len(text) < 5000


def test_without_colour_what_counts_stands_in_brackets(bpe, tmp_path):
    table = cache.tokenised(gather([Chat((Message("user", "why"), A))], "r"), Kind.chat, bpe, 100, tmp_path)
    assert "<|user|>why<|end|><|assistant|>[[because<|end|>]]" in shown(table, Kind.chat, bpe)
    ids, mask = table.column("ids")[0], table.column("mask")[0]
    assert "[[" not in preview.painted(bpe, ids, mask).plain


def test_frequent_tokens_and_skipped_rows_are_told(bpe, tmp_path):
    table = cache.tokenised(gather([Text("hello" * 30)], "r"), Kind.text, bpe, 100, tmp_path)
    text = shown(table, Kind.text, bpe, skipped={"'[x]' is empty": 3})
    ids = table.column("ids").values
    token, count = max(((t, int((ids == t).sum())) for t in set(ids.tolist())), key=lambda pair: pair[1])
    assert f"most frequent: {bpe.decode([token])!r} {count / len(ids):.1%}" in text
    assert "skipped: '[x]' is empty" in text
