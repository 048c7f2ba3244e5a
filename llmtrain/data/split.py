"""Held-out rows. A prompt stands on one side only; where documents are few, each gives its end."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from llmtrain.data.cache import Table
from llmtrain.data.order import FEW
from llmtrain.data.records import Kind
from llmtrain.errors import DataError


@dataclass(frozen=True)
class Split:
    """For Kind.text [D, 3] spans (document, start, stop) in tokens, else [n] row indices; both sorted."""

    train: np.ndarray
    eval: np.ndarray
    description: str  # for the log


def train_eval(table: Table, kind: Kind, fraction: float, seed: int) -> Split:
    """Hold out `fraction` of the prompts (of the documents for text), at least one; 0 holds out nothing."""
    if kind is Kind.text:
        return _documents(table, fraction, seed)
    train, held, count = _by_key(_keys(table, kind), fraction, seed)
    return Split(train, held, f"{len(train)} rows to train on, {len(held)} held out ({count} prompts)")


def _documents(table: Table, fraction: float, seed: int) -> Split:
    lengths = table.lengths("ids")
    whole = np.stack([np.arange(len(lengths)), np.zeros_like(lengths), lengths], axis=1)
    if fraction == 0 or len(lengths) >= FEW:
        train, held, _ = _by_key(_keys(table, Kind.text), fraction, seed)
        return Split(whole[train], whole[held], f"{len(train)} documents to train on, {len(held)} held out")
    # nanoGPT data/shakespeare_char/prepare.py: the last tenth of the one text
    cuts = lengths - np.maximum(2, np.round(lengths * fraction).astype(np.int64))
    if (cuts < 2).any():
        raise DataError(
            f"{len(lengths)} documents, the shortest of {lengths.min()} tokens, are too little to hold out their ends; "
            "give more text"
        )
    train, held = whole.copy(), whole.copy()
    train[:, 2], held[:, 1] = cuts, cuts
    return Split(train, held, f"the last {fraction:.3g} of each of {len(lengths)} documents is held out")


def _keys(table: Table, kind: Kind) -> Iterable[bytes]:
    return (_prompt_key(table, kind, row) for row in range(len(table)))


def _prompt_key(table: Table, kind: Kind, row: int) -> bytes:
    """What the model is asked in a row, the tokens before the first one that counts; of a text all of it."""
    if kind is Kind.ranking:
        return table.column("prompt")[row].tobytes()
    ids = table.column("ids")[row]
    return (ids[: int(table.column("mask")[row].argmax())] if kind is Kind.chat else ids).tobytes()


def _by_key(keys: Iterable[bytes], fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """(train indices, held-out indices, number of different keys). The first keys by a seeded hash are held out."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    index = -1
    for index, key in enumerate(keys):
        groups[hashlib.sha256(f"{seed}/".encode() + key).digest()].append(index)
    if fraction > 0 and len(groups) < 2:
        raise DataError("all rows are one prompt (or one text), so none can be held out; give more")
    count = min(len(groups) - 1, max(1, round(fraction * len(groups)))) if fraction > 0 else 0
    chosen = sorted(groups)[:count]
    held = np.array(sorted(index for key in chosen for index in groups[key]), dtype=np.int64)
    return np.setdiff1d(np.arange(index + 1), held), held, len(groups)
