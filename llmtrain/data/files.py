"""Local files as a stream of rows, each with its place. A broken row is yielded as a BadRow; a broken file raises.

No file is held whole in memory. Bytes that are no UTF-8 are decoded to lone surrogates
(surrogateescape) and refused where the text is used, with the line: datasets 5.2 finds them only in mid-training.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from llmtrain.data import validate
from llmtrain.data.parts import parts
from llmtrain.data.validate import BadRow
from llmtrain.errors import DataError

Rows = Iterator[tuple[str, object]]  # (place, a row as mapping | BadRow | something that is no mapping)

MAX_ROW = 64 * 2**20  # characters of one line, list item or CSV field: a bound on memory
MORE = "\0more"  # key of a row whose document goes on in the next; no column has such a name
CHUNK = 2**20


def expand(path: str) -> list[Path]:
    """A file, or every readable file below a folder in sorted order. DataError when there is none."""
    start = Path(path).expanduser()
    if start.is_dir():
        inside = [p for p in sorted(start.rglob("*")) if p.is_file() and _suffix(p) in READERS]
        found = [p for p in inside if not any(part.startswith(".") for part in p.relative_to(start).parts)]
        if not found:
            raise DataError(f"{path}: the folder holds no file named {', '.join(READERS)} (or these with .gz)")
        return found
    if not start.is_file():
        state = "is not a regular file" if start.exists() else "does not exist"
        raise DataError(f"{path}: {state}; data.path takes files, folders and hub:org/name")
    if _suffix(start) not in READERS:
        raise DataError(
            f"{path}: unknown file type '{_suffix(start)}'; known are {', '.join(READERS)}, each but .parquet also .gz"
        )
    return [start]


def rows(path: Path) -> Rows:
    """Rows of one file of any known type."""
    empty = True
    try:
        for place, row in READERS[_suffix(path)](path):
            empty = False
            yield place, row
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error}); the file is damaged or not what its name says") from error
    if empty:
        yield str(path), BadRow("the file holds no rows")


def _suffix(path: Path) -> str:
    return Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def _open(path: Path, newline: str | None) -> IO[str]:
    """Decoded text; a byte order mark is dropped."""
    zipped = path.suffix.lower() == ".gz"
    raw: Any = gzip.open(path) if zipped else path.open("rb")  # noqa: SIM115, the wrapper closes it
    return io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline=newline)


def _text(path: Path) -> Rows:
    """A document in parts. All of it is looked at first: a fault at its end is one of the whole document."""
    try:
        with _open(path, None) as handle:
            for part, _ in parts(handle.read):
                validate.text(part, "text")
    except BadRow as error:
        yield str(path), error
        return
    with _open(path, None) as handle:
        for part, more in parts(handle.read):
            yield str(path), {"text": part, MORE: True} if more else {"text": part}


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise BadRow("duplicate key in JSON")
    return row


def _constant(name: str) -> object:
    raise BadRow("not JSON", name)


DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_constant)


def _json_lines(path: Path) -> Rows:
    with _open(path, "\n") as handle:
        number = 0
        while line := handle.readline(MAX_ROW + 1):
            number += 1
            place = f"{path}:{number}"
            if len(line) > MAX_ROW:
                raise DataError(f"{place}: longer than {MAX_ROW} characters; split the row")
            if line.isspace():
                continue
            try:
                yield place, DECODER.decode(line.strip())
            except BadRow as error:
                yield place, error
            except (ValueError, RecursionError) as error:
                yield place, BadRow("broken JSON", str(error))


def _json(path: Path) -> Rows:
    """A list of objects, read item by item; a .json file that holds JSON lines is read as such."""
    with _open(path, "\n") as handle:
        scanner = _Scanner(handle)
        if scanner.peek() != "[":
            yield from _json_lines(path)
            return
        try:
            yield from ((f"{path}:{line}", item) for line, item in scanner.items())
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}:{scanner.line}: {error}; the rest of the list cannot be read") from error


class _Scanner:
    """Items of a JSON list, from a window that grows only as far as one item needs."""

    def __init__(self, handle: IO[str]):
        self.handle, self.buffer, self.at, self.line = handle, "", 0, 1

    def _more(self) -> bool:
        rest = self.buffer[self.at :]
        chunk = self.handle.read(max(CHUNK, len(rest)))  # doubling: an item is parsed again only log times
        self.buffer, self.at = rest + chunk, 0
        return bool(chunk)

    def _move(self, to: int) -> None:
        self.line += self.buffer.count("\n", self.at, to)
        self.at = to

    def peek(self) -> str:
        """The next character that is no white space, "" at the end."""
        while True:
            while self.at < len(self.buffer) and self.buffer[self.at] in " \t\r\n":
                self._move(self.at + 1)
            if self.at < len(self.buffer):
                return self.buffer[self.at]
            if not self._more():
                return ""

    def items(self) -> Iterator[tuple[int, object]]:
        opening, separator = "[", self.peek()
        while separator == opening:
            self._move(self.at + 1)
            if opening == "[" and self.peek() == "]":
                break
            self.peek()
            yield self.line, self._value()
            opening, separator = ",", self.peek()
        if self.peek() != "]":
            raise BadRow("broken JSON", f"',' or ']' expected, {self.peek()!r} found")
        self._move(self.at + 1)
        if self.peek():
            raise BadRow("broken JSON", "text after the end of the list")

    def _value(self) -> object:
        while True:
            try:
                value, end = DECODER.raw_decode(self.buffer, self.at)
            except json.JSONDecodeError as error:
                if len(self.buffer) - self.at > MAX_ROW or not self._more():
                    raise BadRow("broken JSON", error.msg) from None
                continue
            self._move(end)
            return value


def _csv(path: Path) -> Rows:
    csv.field_size_limit(MAX_ROW)
    with _open(path, "") as handle:
        reader = csv.reader(handle, strict=True)
        header = next(reader, [])
        if len(set(header)) != len(header):
            raise DataError(f"{path}:1: the header names a column twice: {header[:12]}")
        for values in reader:
            place = f"{path}:{reader.line_num}"
            if len(values) != len(header):
                yield place, BadRow("not as many values as columns", f"{len(values)} and {len(header)}")
            else:
                yield place, dict(zip(header, values, strict=True))


def _parquet(path: Path) -> Rows:
    import pyarrow as pa  # 0.2 s to import, and only this reader needs it
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as table:
            number = 0
            for batch in table.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}:row {number}", row
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as parquet ({str(error)[:200]})") from error


READERS = {".txt": _text, ".jsonl": _json_lines, ".json": _json, ".csv": _csv, ".parquet": _parquet}
