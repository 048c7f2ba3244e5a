"""Tokenised once: ragged columns in memory-mapped .npy files, named by what they were made of, verified when opened."""

import hashlib
import json
import logging
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from transformers import PreTrainedTokenizerBase

from llmtrain.data import encode
from llmtrain.data.records import Kind
from llmtrain.data.sources import Source
from llmtrain.errors import DataError
from llmtrain.text.tokenizers import digest

log = logging.getLogger(__name__)

VERSION = 2  # raise it when the same input gives other columns
MANIFEST = "manifest.json"
ABANDONED = 7 * 24 * 3600  # seconds after which a table that is not finished never will be


class Column:
    """Ragged rows: row i is values[offsets[i]:offsets[i+1]]."""

    def __init__(self, values: np.ndarray, offsets: np.ndarray):
        self.values, self.offsets = values, offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        if not 0 <= row < len(self):
            raise IndexError(row)
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)


@dataclass(frozen=True)
class Table:
    """Tokenised rows by column (encode.py tells which); `dropped` and `cut` say what became of the others."""

    columns: dict[str, Column]
    dropped: dict[str, int]  # reason -> records left out
    cut: int  # rows kept without their end
    key: str

    def __len__(self) -> int:
        return len(self.columns["row"])

    def column(self, name: str) -> Column:
        return self.columns[name]

    def lengths(self, name: str) -> np.ndarray:
        """[rows] int64 length of each row of a column."""
        return self.columns[name].lengths()


def tokenised(
    source: Source, kind: Kind, tokenizer: PreTrainedTokenizerBase, max_length: int, folder: str | Path
) -> Table:
    """The table of `source`, from `folder` if it was made before from the same records with the same tokenizer.

    Two processes may call it at once: each writes a directory of its own, one rename wins.
    DataError when no row is left.
    """
    limit = 0 if kind is Kind.text else max_length  # text is never cut
    parts = [VERSION, source.digest, digest(tokenizer), kind.value, limit]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    target = Path(folder).expanduser() / key
    building = target.with_name(f".tmp-{key[:8]}-{secrets.token_hex(6)}")
    try:
        if target.exists():
            fault = _fault(target)
            if fault is None:
                return _open(target)
            log.warning("token cache %s: %s; it is made again", target, fault)
            _discard(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        building.mkdir()
        _build(building, source, kind, tokenizer, max_length)
        _publish(building, target)
        return _open(target)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(
            f"data.cache={folder}: cannot be used ({reason}); free space there, or give another folder"
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left. A living one needs hours at most."""
    for path in folder.glob(".tmp-*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED:
                shutil.rmtree(path, ignore_errors=True)


def _publish(building: Path, target: Path) -> None:
    try:
        building.rename(target)
    except OSError:  # another process was first; its table holds the same
        if _fault(target) is not None:
            raise


def _discard(target: Path) -> None:
    aside = target.with_name(f".tmp-bad-{secrets.token_hex(6)}")
    try:
        target.rename(aside)
    except FileNotFoundError:  # another process has moved it
        log.debug("%s is gone already", target)
    shutil.rmtree(aside, ignore_errors=True)


def _build(folder: Path, source: Source, kind: Kind, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    notes: Counter[str] = Counter()
    made = encode.rows(source.records, kind, tokenizer, max_length, notes)
    count = _write(folder, made, encode.COLUMNS[kind])
    cut = notes.pop(encode.CUT, 0)
    reasons = "; ".join(f"{n} x {reason}" for reason, n in notes.items())
    if count == 0:
        raise DataError(f"{source.description}: no row is left ({reasons}); raise data.max_length={max_length}")
    if notes or cut:
        log.warning(
            "%s: %d of %d rows dropped (%s), %d cut at max_length",
            source.description,
            notes.total(),
            count + notes.total(),
            reasons or "none",
            cut,
        )
    files = {p.name: {"sha256": _sha256(p), "size": p.stat().st_size} for p in sorted(folder.iterdir())}
    manifest = {"version": VERSION, "columns": encode.COLUMNS[kind], "dropped": dict(notes), "cut": cut, "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _write(folder: Path, rows: Iterable[encode.Row], names: tuple[str, ...]) -> int:
    """Append row after row, so that the table may be larger than memory. Returns the number of rows."""
    handles = {name: (folder / f"{name}.values.npy").open("wb") for name in names}
    ends: dict[str, list[int]] = {name: [0] for name in names}
    length = dict.fromkeys(names, 0)
    try:
        for name, handle in handles.items():
            _header(handle, encode.DTYPES[name], 0)
        for row in rows:
            for name, handle in handles.items():
                handle.write(np.asarray(row[name], dtype=encode.DTYPES[name]).tobytes())
                length[name] += len(row[name])
                if not row.get(encode.OPEN):
                    ends[name].append(length[name])
        for name, handle in handles.items():
            handle.seek(0)
            _header(handle, encode.DTYPES[name], length[name])
    finally:
        for handle in handles.values():
            handle.close()
    for name in names:
        np.save(folder / f"{name}.offsets.npy", np.asarray(ends[name], dtype=np.int64), allow_pickle=False)
    return len(ends[names[0]]) - 1


def _header(handle: BinaryIO, dtype: str, length: int) -> None:
    """A .npy header; numpy pads it so that the length of the first axis can grow in place."""
    fields = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(handle, fields)


def _fault(folder: Path) -> str | None:
    """What is wrong with a table on disk, None if nothing is."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        for name, entry in manifest["files"].items():
            if _sha256(folder / name) != entry["sha256"]:
                return f"{name} is damaged"
        wanted = {f"{c}.{part}.npy" for c in manifest["columns"] for part in ("values", "offsets")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"unreadable ({error})"
    return None if wanted == set(manifest["files"]) else "files are missing"


def _open(folder: Path) -> Table:
    def load(name: str, part: str) -> np.ndarray:
        return np.load(folder / f"{name}.{part}.npy", mmap_mode="r", allow_pickle=False)

    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    columns = {name: Column(load(name, "values"), load(name, "offsets")) for name in manifest["columns"]}
    return Table(columns, manifest["dropped"], manifest["cut"], folder.name)


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
