"""Text in fixed windows, and the optimizer: what every side of a training contest shares. No llmtrain here."""

from pathlib import Path

import numpy as np

ADAMW = dict(lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)  # a constant learning rate, all sides
CLIP = 1.0


class Windows:
    """Window i holds width + 1 tokens and shares one with the next: the last target here, the first input there."""

    def __init__(self, file: Path, width: int, rows: int):
        self.tokens, self.width = np.load(file), width
        self.count = (len(self.tokens) - 1) // width // rows * rows  # whole steps alone

    def start(self, number: int) -> int:
        """Of the window that comes as number `number` (from 0, beginning anew behind the last)."""
        return number % self.count * self.width

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> np.ndarray:
        start = self.start(number)
        return self.tokens[start : start + self.width + 1].astype(np.int64)
