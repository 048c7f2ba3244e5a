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
UTF16 = "the text is UTF-16; convert it: iconv -f UTF-16 -t UTF-8 OLD > NEW"
FORMS = {  # first bytes -> what the file is
    b"\x1f\x8b": "the file is compressed by gzip; let its name end in .gz",
    b"\xff\xfe": UTF16,
    b"\xfe\xff": UTF16,
    b"PAR1": "the file is parquet; let its name end in .parquet",
}


def expand(path: str) -> list[Path]:
    """A file, or every readable file below a folder in sorted order. DataError when there is none."""
    start = Path(path).expanduser()
    try:
        there = start.exists()
    except (OSError, ValueError) as error:  # a name that no file can have
        raise DataError(
            f"{path[:80]}: cannot be a file ({error.args[-1]}); data.path takes files and folders"
        ) from None
    if start.is_dir():
        inside = [p for p in sorted(start.rglob("*")) if p.is_file() and _suffix(p) in READERS]
        found = [p for p in inside if not any(part.startswith(".") for part in p.relative_to(start).parts)]
        if not found:
            raise DataError(f"{path}: the folder holds no file named {', '.join(READERS)} (or these with .gz)")
        return found
    if not start.is_file():
        state = "is not a regular file" if there else "does not exist"
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
        _check_form(path)
        for place, row in READERS[_suffix(path)](path):
            empty = False
            yield place, row
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error}); the file is damaged or not what its name says") from error
    if empty:
        yield str(path), BadRow("the file holds no rows")


def _check_form(path: Path) -> None:
    """Raises DataError for what is another form of file than its name says."""
    if _suffix(path) == ".parquet":
        return
    with _raw(path) as handle:
        start = handle.read(4)
    for magic, found in FORMS.items():
        if start.startswith(magic):
            raise DataError(f"{path}: {found}")


def _suffix(path: Path) -> str:
    return Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def _open(path: Path, newline: str | None) -> IO[str]:
    """Decoded text; a byte order mark is dropped."""
    return io.TextIOWrapper(_raw(path), encoding="utf-8-sig", errors="surrogateescape", newline=newline)


def _raw(path: Path) -> Any:
    """The bytes of a file, decompressed where its name ends in .gz."""
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")


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
LENIENT = json.JSONDecoder(parse_int=len)  # finds the end of an item that DECODER refuses


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
            if scanner.spans_lines():
                raise DataError(
                    f"{path}: holds an object over several lines, and no list; put [ before it and ] behind it (and , "
                    "between objects), or give it as one line of a .jsonl"
                )
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

    def spans_lines(self) -> bool:
        """Whether the next value is an object that is written over several lines."""
        if self.peek() != "{":
            return False
        first = self.line
        try:
            self._value()
        except (ValueError, RecursionError):
            return False
        return self.line > first

    def _value(self) -> object:
        """The next value; a BadRow in its place when it is well-formed and still no row."""
        while True:
            try:
                value, end = self._decoded()
            except json.JSONDecodeError as error:
                if len(self.buffer) - self.at > MAX_ROW:
                    raise BadRow("broken JSON", f"no end of an item within {MAX_ROW} characters") from None
                if not self._more():
                    raise BadRow("broken JSON", error.msg) from None
                continue
            if end - self.at > MAX_ROW:
                raise BadRow("an item is too long", f"more than {MAX_ROW} characters; split it")
            self._move(end)
            return value

    def _decoded(self) -> tuple[object, int]:
        try:
            return DECODER.raw_decode(self.buffer, self.at)
        except json.JSONDecodeError:
            raise
        except ValueError as error:  # a key twice, NaN, an integer of thousands of digits
            _, end = LENIENT.raw_decode(self.buffer, self.at)
            return error if isinstance(error, BadRow) else BadRow("broken JSON", str(error)), end


def _csv(path: Path) -> Rows:
    csv.field_size_limit(MAX_ROW)
    with _open(path, "") as handle:
        reader = csv.reader(handle, strict=True)
        header = next(reader, [])
        if len(set(header)) != len(header):
            raise DataError(f"{path}:1: the header names a column twice: {header[:12]}")
        for values in reader:
            place = f"{path}:{reader.line_num}"
            if not values:  # a blank line
                continue
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
                columns = {name: values for name in batch.schema.names if (values := _values(batch[name])) is not None}
                for row in range(batch.num_rows):
                    number += 1
                    yield f"{path}:row {number}", {name: values[row] for name, values in columns.items()}
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as parquet ({str(error)[:200]})") from error


def _values(column: Any) -> list | None:
    """A column as Python values; None for one that Python cannot hold, such as the year 33,000."""
    try:
        return column.to_pylist()
    except (ValueError, OverflowError):
        return None


READERS = {".txt": _text, ".jsonl": _json_lines, ".json": _json, ".csv": _csv, ".parquet": _parquet}
