"""Prompts and their answers out of files, as the items that people rank."""

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmtrain.data import files, validate
from llmtrain.data.formats import context, with_system
from llmtrain.data.records import Message
from llmtrain.data.validate import BadRow
from llmtrain.errors import DataError
from llmtrain.rank.records import Item

SHOWN = 10  # bad rows that are told


@dataclass
class Gathered:
    """The items, and how many answers and prompts were left out for what reason."""

    items: list[Item] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)


def gather(paths: Sequence[Path], most: int, limit: int | None, seed: int) -> Gathered:
    """The items of all files, in order of first appearance; answers to the same prompt are ranked together.

    A row is {"prompt": text or messages, "answers" or "responses": [text or {"text", "ended", "source"}, ...]}, as
    `sample` writes it. most: answers of an item; more are left out by chance, by (seed, prompt). limit: items.
    Cut-off answers are left out: as a row of data they would get an EOS that the model never wrote (correctness A4).
    Raises DataError that tells the first bad rows with their places.
    """
    answers: dict[tuple[Message, ...], dict[str, str]] = {}
    out = Gathered()
    counts: dict[str, int] = defaultdict(int)
    for prompt, given in _rows(paths):
        kept = answers.setdefault(prompt, {})
        for text, ended, source in given:
            if not ended:
                counts["answers cut off"] += 1
            elif text in kept:
                counts["answers said twice"] += 1
            else:
                kept[text] = source
    for prompt, kept in answers.items():
        if len(kept) < 2:
            counts["prompts with fewer than two different answers"] += 1
        elif limit is None or len(out.items) < limit:
            pairs = list(kept.items())
            if len(pairs) > most:
                chance = random.Random(f"{seed} {[(m.role, m.content) for m in prompt]}")
                chosen = set(chance.sample(range(len(pairs)), most))
                pairs = [pair for n, pair in enumerate(pairs) if n in chosen]
            out.items.append(Item.of(prompt, tuple(t for t, _ in pairs), tuple(s for _, s in pairs)))
    out.left_out = dict(counts)
    if not out.items:
        told = ", ".join(f"{n} {what}" for what, n in counts.items())
        raise DataError(f"{', '.join(map(str, paths))}: nothing to rank ({told}); a prompt needs two different answers")
    return out


def _rows(paths: Sequence[Path]) -> Iterator[tuple[tuple[Message, ...], list[tuple[str, bool, str]]]]:
    faults = []
    for path in paths:
        for place, row in files.rows(path):
            try:
                yield _row(row, path.stem)
            except BadRow as error:
                faults.append(f"{place}: {error}")
    if faults:
        more = f"\nand {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise DataError("\n".join(faults[:SHOWN]) + more)


def _row(row: Any, source: str) -> tuple[tuple[Message, ...], list[tuple[str, bool, str]]]:
    if isinstance(row, BadRow):
        raise row
    if not isinstance(row, Mapping):
        raise BadRow("not a JSON object", validate.shown(row, 60))
    name = "answers" if "answers" in row else "responses"
    if name not in row:
        raise BadRow("no 'answers'", f"the row has {sorted(map(str, row))[:12]}")
    given = row[name]
    if not isinstance(given, list) or not given:
        raise BadRow(f"'{name}' is not a list of answers", validate.shown(given, 60))
    prompt = with_system(row, context(validate.field(row, "prompt"), "prompt"))
    return prompt, [_answer(answer, name, source) for answer in given]


def _answer(value: object, name: str, source: str) -> tuple[str, bool, str]:
    """Text, whether the model ended it, and who wrote it. What no row of data may hold counts as cut off."""
    if not isinstance(value, Mapping):
        return validate.text(value, name), True, source
    text, ended = validate.field(value, "text"), value.get("ended", True)
    if not isinstance(ended, bool):
        raise BadRow(f"'{name}' holds 'ended' that is neither true nor false", validate.shown(ended, 40))
    if ended:
        try:
            validate.text(text, name)
        except BadRow:  # a hot policy writes anything: nothing at all, for one
            return "", False, ""
    return str(text), ended, str(value.get("source", source))
