"""Which rows a step sees: pure functions of (seed, step), so that resume needs one integer (correctness A9)."""

import hashlib
from functools import lru_cache

import numpy as np

FEW = 20  # below so many documents, permuting them alone leaves the row boundaries where they were


def epoch_order(seed: int, epoch: int, n: int, purpose: str = "order") -> np.ndarray:
    """[n] int64, a permutation of 0..n-1. Built on Philox' raw 64-bit stream, which NumPy guarantees for good."""
    return np.argsort(_stream(seed, epoch, purpose).random_raw(n), kind="stable")


def _stream(seed: int, epoch: int, purpose: str) -> np.random.Philox:
    key = hashlib.sha256(f"{seed}/{epoch}/{purpose}".encode()).digest()[:16]
    return np.random.Philox(key=int.from_bytes(key, "big"))


class Rows:
    """n rows in steps of `rows_per_step`, in a new order each epoch; the last step of an epoch may be shorter."""

    def __init__(self, seed: int, n: int, rows_per_step: int):
        assert n > 0 and rows_per_step > 0
        self.seed, self.n, self.rows_per_step = seed, n, rows_per_step
        self.steps_per_epoch = -(-n // rows_per_step)
        self._order = lru_cache(maxsize=2)(lambda epoch: epoch_order(seed, epoch, n))

    def at(self, step: int) -> tuple[int, np.ndarray]:
        """(epoch, indices) of 0-based `step`."""
        epoch, inside = divmod(step, self.steps_per_epoch)
        start = inside * self.rows_per_step
        return epoch, self._order(epoch)[start : start + self.rows_per_step]


Span = tuple[int, int, int]  # (document, start, stop) in tokens


class Stream:
    """Documents laid end to end in a permuted order and cut into rows of context+1 tokens, rows permuted again.

    Neighbouring rows share one token, the last target of the one and the first input of the other: so every token is
    a target exactly once per epoch, but for the first of each document. With few long documents the cuts fall
    elsewhere in each epoch: the first document is begun at a drawn offset and its start put last.

    spans: [D, 3] int64 (document, start, stop), stop > start. A row is a list of spans of at least two tokens.
    """

    def __init__(self, spans: np.ndarray, context: int, seed: int):
        assert len(spans) and context > 0
        self.spans, self.context, self.seed = np.asarray(spans, dtype=np.int64), context, seed
        lengths = self.spans[:, 2] - self.spans[:, 1]
        self.shifts = len(spans) < FEW and bool((lengths > context + 1).all())
        tokens = int(lengths.sum()) + self.shifts  # the token at the offset stands in both parts
        self.rows_per_epoch = max(1, -(-(tokens - 1) // context))
        self._layout = lru_cache(maxsize=2)(self._lay)
        self._order = lru_cache(maxsize=2)(lambda epoch: epoch_order(seed, epoch, self.rows_per_epoch, "rows"))

    def steps_per_epoch(self, rows: int) -> int:
        return -(-self.rows_per_epoch // rows)

    def at(self, step: int, rows: int) -> list[list[Span]]:
        """The rows of 0-based `step`, `rows` of them but for the last step of an epoch."""
        epoch, inside = divmod(step, self.steps_per_epoch(rows))
        chosen = self._order(epoch)[inside * rows : (inside + 1) * rows]
        return [self.row(epoch, int(index)) for index in chosen]

    def row(self, epoch: int, index: int) -> list[Span]:
        """Row `index` of 0..rows_per_epoch-1 in the order of the stream. May be empty where no token is a target."""
        spans, bounds = self._layout(epoch)
        start = index * self.context
        stop = min(start + self.context + 1, int(bounds[-1]))
        found: list[Span] = []
        number = int(np.searchsorted(bounds, start, side="right")) - 1
        while number < len(spans) and bounds[number] < stop:
            document, first, _ = spans[number]
            low, high = max(start, int(bounds[number])), min(stop, int(bounds[number + 1]))
            if high - low > 1:  # one token alone predicts nothing
                offset = int(first) - int(bounds[number])
                found.append((int(document), low + offset, high + offset))
            number += 1
        return found

    def _lay(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """(spans in this epoch's order, [D+1] where each begins in the stream)."""
        spans = self.spans[epoch_order(self.seed, epoch, len(self.spans), "documents")]
        if self.shifts:
            document, start, stop = spans[0]
            draw = int(_stream(self.seed, epoch, "offset").random_raw())
            offset = 1 + draw % (int(stop - start) - 2)
            ends = [[document, start, start + offset + 1]]
            spans = np.concatenate([[[document, start + offset, stop]], spans[1:], ends])
        return spans, np.concatenate([[0], (spans[:, 2] - spans[:, 1]).cumsum()])
