"""Files, folders and hub data sets as validated records. Every fault is found here, before the first step."""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from llmtrain.data import files, formats, parts
from llmtrain.data.formats import Record
from llmtrain.data.records import Kind, Text
from llmtrain.data.validate import BadRow, shown
from llmtrain.errors import DataError

log = logging.getLogger(__name__)

HUB = "hub:"
SHOWN = 5  # skipped rows that are logged one by one


@dataclass(frozen=True)
class Source:
    """Records that passed every check, a long text as several. Iterate freely: Kind.text reads its files anew."""

    records: Collection[Record]
    digest: str  # sha256 over the records: the same rows give the same digest, whatever file they stand in
    description: str
    skipped: dict[str, int] = field(default_factory=dict)  # reason -> rows

    @property
    def counts(self) -> dict[str, int]:
        return {"records": len(self.records), "skipped": sum(self.skipped.values())}


def gather(records: Iterable[Record], description: str) -> Source:
    """A source from records made in memory."""
    kept = tuple(records)
    return Source(kept, _digest(kept)[0], description)


def later(make: Callable[[], Sequence[Record]], count: int, digest: str, description: str) -> Source:
    """The same from records that are known by their digest and made only when somebody reads them."""
    return Source(_Made(make, count, digest, description), digest, description)


def read(
    paths: list[str],
    kind: Kind,
    *,
    split: str = "train",
    text_column: str | None = None,
    on_bad_row: str = "fail",
    limit: int | None = None,
) -> Source:
    """Read, check and count every row.

    paths: files (.txt .jsonl .json .csv .parquet; all but parquet also as .gz), folders, hub:org/name.
    split: which split of a hub data set. text_column: the column that holds the text, for Kind.text only.
    on_bad_row: "fail" stops at the first bad row with its place, "skip" leaves it out and counts it. A file that
    cannot be read to its end is always an error. limit: at most so many records.
    """
    if not paths:
        raise DataError("data.path is empty; give files, folders or hub:org/name")
    if text_column is not None and kind is not Kind.text:
        raise DataError(f"data.text_column={text_column} does nothing here: this stage reads {kind.value} rows")
    if split != "train" and not any(path.startswith(HUB) for path in paths):
        raise DataError(f"data.split={split} does nothing here: only hub data sets have splits, not {', '.join(paths)}")
    request = _Request(paths, kind, split, text_column, on_bad_row == "skip", limit)
    faults: Counter[str] = Counter()
    records: Collection[Record]
    if kind is Kind.text:
        digest, count = _digest(request.records(faults))
        records = _Reread(request, digest, count)
    else:
        records = tuple(request.records(faults))
        digest, _ = _digest(records)
    if not records:
        raise DataError(f"{', '.join(paths)}: no usable row for a stage that reads {kind.value}; {_tally(faults)}")
    if faults:
        log.warning("%s: %d rows skipped (%s)", ", ".join(paths), faults.total(), _tally(faults))
    return Source(records, digest, ", ".join(paths), dict(faults))


def first_kind(paths: list[str], kinds: Sequence[Kind], split: str) -> Kind | None:
    """The first of `kinds` that the columns of the first readable row can give; None when none can."""
    for rows in _Request(paths, Kind.text, split, None, skip=True, limit=1)._files():
        columns = next((row for _, row in rows if isinstance(row, Mapping)), None)
        if columns is not None:
            return next((kind for kind in kinds if formats.recognise(columns, formats.candidates(kind, None))), None)
    return None


@dataclass(frozen=True)
class _Request:
    paths: list[str]
    kind: Kind
    split: str
    text_column: str | None
    skip: bool
    limit: int | None

    def records(self, faults: Counter[str] | None) -> Iterator[Record]:
        """Records in order; skipped rows are counted in `faults` and logged, unless that is None."""
        count = 0
        for rows in self._files():
            for item in self._parsed(rows, faults):
                if self.limit is not None and count >= self.limit:
                    return
                yield item
                count += not _goes_on(item)

    def _files(self) -> Iterator[files.Rows]:
        for path in self.paths:
            if path.startswith(HUB):
                yield _hub_rows(path, self.split, self.limit)
            else:
                yield from (files.rows(file) for file in files.expand(path))

    def _parsed(self, rows: files.Rows, faults: Counter[str] | None) -> Iterator[Record]:
        known = formats.candidates(self.kind, self.text_column)
        form, unknown = None, None
        for place, row in rows:
            try:
                mapping = _mapping(row)
                form = form or formats.recognise(mapping, known)
                if form is None:
                    unknown = unknown or (place, mapping)
                    raise BadRow("unrecognised columns", ", ".join(map(str, mapping))[:100])
                item = formats.record(mapping, form, self.kind)
            except BadRow as error:
                if not self.skip:
                    raise self._refusal(place, unknown, error) from None
                _note(place, error, faults)
            else:
                yield from parts.split(item) if isinstance(item, Text) else [item]
        if form is None and unknown:
            raise self._refusal(unknown[0], unknown, BadRow("unrecognised columns"))

    def _refusal(self, place: str, unknown: tuple[str, Mapping] | None, error: BadRow) -> DataError:
        if not unknown:
            return DataError(f"{place}: {error}. Mend the row, or set data.on_bad_row=skip to leave such rows out")
        wanted = "; ".join(f"{' + '.join(f.needs)} ({f.name})" for f in formats.candidates(self.kind, self.text_column))
        return DataError(
            f"{place}: no known format for a stage that reads {self.kind.value}.\n"
            f"  columns:   {', '.join(map(str, unknown[1]))[:200]}\n"
            f"  first row: {shown(dict(unknown[1]), 300)}\n"
            f"  wanted:    {wanted}"
            + ("\n  or name the column that holds the text: data.text_column=NAME" if self.kind is Kind.text else "")
        )


class _Reread(Collection[Record]):
    """Records that are read from their files at every pass; the first pass has counted and checked them."""

    def __init__(self, request: _Request, digest: str, count: int):
        self.request, self.digest, self.count = request, digest, count

    def __len__(self) -> int:
        return self.count

    def __contains__(self, item: object) -> bool:
        return any(item == other for other in self)

    def __iter__(self) -> Iterator[Record]:
        hasher = hashlib.sha256()
        for item in self.request.records(None):
            _feed(hasher, item)
            yield item
        if hasher.hexdigest() != self.digest:
            raise DataError(f"{', '.join(self.request.paths)}: changed while it was read; run again")


class _Made(Collection[Record]):
    """Records that are made at the first pass."""

    def __init__(self, make: Callable[[], Sequence[Record]], count: int, digest: str, description: str):
        self.make, self.count, self.digest, self.description = make, count, digest, description

    def __len__(self) -> int:
        return self.count

    def __contains__(self, item: object) -> bool:
        return item in self.all

    def __iter__(self) -> Iterator[Record]:
        return iter(self.all)

    @cached_property
    def all(self) -> tuple[Record, ...]:
        made = tuple(self.make())
        if _digest(made)[0] != self.digest:
            raise DataError(f"{self.description}: other rows than those remembered in data.cache; empty that folder")
        return made


def _note(place: str, error: BadRow, faults: Counter[str] | None) -> None:
    if faults is None:
        return
    faults[error.reason] += 1
    if faults.total() <= SHOWN:
        log.warning("%s: %s; skipped", place, error)


def _mapping(row: object) -> Mapping:
    if isinstance(row, BadRow):
        raise row
    if not isinstance(row, Mapping):
        raise BadRow("the row is not an object with named columns", shown(row, 80))
    return row


def _hub_rows(path: str, split: str, limit: int | None) -> files.Rows:
    """Rows of hub:org/name[:configuration][@revision]. Data sets with loading scripts do not exist in datasets >= 4.

    Where few rows are asked for they are streamed; a whole set is downloaded once, for all passes and for resume.
    """
    import datasets  # seconds to import, and only hub data needs it

    name, _, revision = path.removeprefix(HUB).partition("@")
    name, _, configuration = name.partition(":")
    few = limit is not None
    try:
        table = datasets.load_dataset(
            name, configuration or None, split=split, revision=revision or None, streaming=few
        )
        for number, row in enumerate(table):
            yield f"{path}:{split}[{number}]", row
    except BadRow:
        raise
    except (OSError, ValueError, RuntimeError, EOFError) as error:
        raise DataError(
            f"{path}: split '{split}' cannot be read from the hub ({' '.join(str(error).split())[:300]}). "
            "Check the name, data.split and the network; of several configurations name one: hub:org/name:CONFIGURATION"
        ) from error


def _goes_on(item: Record) -> bool:
    return isinstance(item, Text) and item.more


def _feed(hasher: "hashlib._Hash", item: Record) -> None:
    if isinstance(item, Text):  # however it is cut into parts; no text holds a NUL
        hasher.update(item.text.encode() + (b"" if item.more else b"\0"))
        return
    line = repr(item).encode()
    hasher.update(len(line).to_bytes(8, "big") + line)


def _digest(records: Iterable[Record]) -> tuple[str, int]:
    """(sha256 over the records, their number)."""
    hasher, count = hashlib.sha256(), 0
    for item in records:
        _feed(hasher, item)
        count += not _goes_on(item)
    return hasher.hexdigest(), count


def _tally(faults: Mapping[str, int]) -> str:
    return "; ".join(f"{count} x {reason}" for reason, count in faults.items()) or "no rows at all"
