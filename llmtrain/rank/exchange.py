"""Votes -> files for `reward`, `dpo` and other tools; rankings of other tools -> our file."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmtrain.data import files, formats, validate
from llmtrain.data.records import Kind, Message, Ranking
from llmtrain.data.validate import BadRow
from llmtrain.errors import DataError, RunError
from llmtrain.rank import argilla
from llmtrain.rank.records import Vote, dense

Row = dict[str, Any]

SHOWN = 10  # bad rows that are told one by one
SKIPPED, TIED, ALIKE = "skipped by the rater", "all answers tied", "fewer than two different answers"


@dataclass(frozen=True)
class Written:
    """What went into a file: rows, and how many votes (or rows of the file that was read) did not, by reason."""

    rows: int
    left_out: dict[str, int] = field(default_factory=dict)


def export_rankings(votes: Iterable[Vote], file: Path) -> Written:
    """One line a vote, as `reward` and `dpo` take it: prompt (messages), responses, ranks, annotator, time (ISO 8601,
    UTC), and for each response its flags and its source.

    What a reader of rankings cannot use is left out and counted: skips, votes that tie everything. Of answers that are
    alike one is kept, with the best of their ranks. Raises RunError when `file` cannot be written.
    """
    left_out: Counter[str] = Counter()
    return _write(_rows(votes, left_out), file, left_out)


def export_pairs(votes: Iterable[Vote], file: Path) -> Written:
    """One line for every two answers of a vote of which one is better: prompt, chosen and rejected, each a list of
    messages, as trl and others take them. Raises RunError when `file` cannot be written."""
    left_out: Counter[str] = Counter()
    return _write((pair for row in _rows(votes, left_out) for pair in _pairs(row)), file, left_out)


def import_rankings(paths: Sequence[str], file: Path, *, skip_bad: bool = False) -> Written:
    """Rows with chosen and rejected, K-way rankings (both as data/formats.py knows them) or records of Argilla
    (argilla.py) in files and folders -> our ranking file.

    Raises DataError that names the first ten bad rows with their places, and how many there are, unless `skip_bad`
    counts them among what was left out; and when there is nothing to write.
    """
    sources = [path for given in paths for path in files.expand(given)]
    if any(file.exists() and source.samefile(file) for source in sources):
        raise DataError(f"{file}: is read and written at once; name another file to write")
    left_out: Counter[str] = Counter()
    faults: list[str] = []
    rows: list[Row] = []
    for place, row in (pair for source in sources for pair in files.rows(source)):
        try:
            rows += _imported(row, left_out)
        except BadRow as error:
            faults.append(f"{place}: {error}")
            left_out[error.reason] += skip_bad
    if faults and not skip_bad:
        more = f"\n... and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise DataError(
            f"{len(faults)} bad rows:\n" + "\n".join(faults[:SHOWN]) + f"{more}\nMend them, or leave such rows out"
        )
    if not rows:
        told = "; ".join(f"{count} x {reason}" for reason, count in left_out.items()) or "no rows at all"
        raise DataError(f"{', '.join(paths)}: no ranking in it ({told})")
    return _write(iter(rows), file, left_out)


def _rows(votes: Iterable[Vote], left_out: Counter[str]) -> Iterator[Row]:
    for vote in votes:
        item, ballot = vote.item, vote.ballot
        if ballot.ranks is None:
            left_out[SKIPPED] += 1
            continue
        kept = _kept(item.responses, ballot.ranks, left_out)
        if kept:
            flags = ballot.flags or tuple({} for _ in item.responses)
            time = datetime.fromtimestamp(vote.time, UTC).isoformat(timespec="milliseconds")
            yield {
                **_row(item.messages, [item.responses[at] for at in kept], list(kept.values()), vote.rater),
                "time": time,
                "flags": [flags[at] for at in kept],
                "sources": [item.sources[at] for at in kept],
            }


def _kept(responses: Sequence[str], ranks: Sequence[int], left_out: Counter[str]) -> dict[int, int]:
    """Index -> rank of the responses that a row can hold, each text once; empty when there is nothing to compare."""
    first: dict[str, int] = {}
    best: dict[int, int] = {}
    for index, (text, rank) in enumerate(zip(responses, ranks, strict=True)):
        if _storable(text):
            at = first.setdefault(text.strip(), index)
            best[at] = min(rank, best.get(at, rank))
    if len(best) < 2:
        left_out[ALIKE] += 1
        return {}
    if len(set(best.values())) < 2:
        left_out[TIED] += 1
        return {}
    return best


def _storable(text: str) -> bool:
    try:
        validate.text(text, "responses")
    except BadRow:
        return False
    return True


def _row(prompt: Sequence[Message], responses: list[str], ranks: Sequence[int], annotator: str) -> Row:
    messages = [asdict(message) for message in prompt]
    return {"prompt": messages, "responses": responses, "ranks": list(dense(ranks)), "annotator": annotator}


def _pairs(row: Row) -> Iterator[Row]:
    ranked = list(zip(row["responses"], row["ranks"], strict=True))
    for better, high in ranked:
        for worse, low in ranked:
            if high < low:
                yield {"prompt": row["prompt"], "chosen": _said(better), "rejected": _said(worse)}


def _said(text: str) -> list[dict[str, str]]:
    return [asdict(Message("assistant", text))]


def _imported(row: object, left_out: Counter[str]) -> list[Row]:
    if isinstance(row, BadRow):
        raise row
    if not isinstance(row, Mapping):
        raise BadRow("the row is not an object with named columns", validate.shown(row, 80))
    if not argilla.recognised(row):
        return [_ours(row)]
    users = argilla.rankings(row)
    if not users:
        left_out["records that nobody ranked"] += 1
    return [_ours(user) for user in users if _comparable(user, left_out)]


def _comparable(user: Row, left_out: Counter[str]) -> bool:
    """Whether one user's ranking has two ranks. A tie of everything is no fault of the file."""
    tied = len(set(map(str, user["ranks"]))) < 2
    left_out[TIED] += tied
    return not tied


def _ours(row: Mapping) -> Row:
    form = formats.recognise(row, formats.candidates(Kind.ranking, None))
    if form is None:
        raise BadRow(
            "no chosen and rejected, no responses and ranks, no fields and responses", ", ".join(map(str, row))[:100]
        )
    found = formats.record(row, form, Kind.ranking)
    assert isinstance(found, Ranking)
    annotator = found.annotator or str(row.get("annotator") or "")
    return _row(found.prompt, list(found.responses), [int(rank) for rank in found.ranks], annotator)


def _write(rows: Iterable[Row], file: Path, left_out: Counter[str]) -> Written:
    """JSON lines, whole or not at all."""
    partial = file.with_name(f".{file.name}.partial")
    count = 0
    try:
        with partial.open("w", encoding="utf-8") as handle:
            for row in rows:
                handle.write(json.dumps(row, ensure_ascii=False) + "\n")
                count += 1
            handle.flush()
            os.fsync(handle.fileno())
        partial.replace(file)
    except OSError as error:
        raise RunError(f"{file}: cannot be written ({error.strerror})") from error
    finally:
        partial.unlink(missing_ok=True)
    return Written(count, {reason: number for reason, number in left_out.items() if number})
