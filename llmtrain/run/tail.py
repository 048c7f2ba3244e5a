"""Follow a metrics.jsonl while a run writes it: each line is read once, however long the file grows."""

import os
from pathlib import Path
from typing import Any

from llmtrain.run.metrics import parse


class Tail:
    """The rows of the file at `path`, in order; lines that are no rows are left out, a half line is left for later."""

    def __init__(self, path: Path):
        self.path = path
        self._file: tuple[int, int] | None = None  # device and inode
        self._at = self._size = 0  # bytes: the end of the last whole line, of the file when it was looked at

    def read(self) -> tuple[bool, list[dict[str, Any]]]:
        """(whether these rows begin anew, the rows since the last call).

        A run that is resumed replaces its file by one that ends at its checkpoint: then all rows come again.
        """
        rows: list[dict[str, Any]] = []
        try:
            with self.path.open("rb") as lines:
                now = os.fstat(lines.fileno())
                anew = (now.st_dev, now.st_ino) != self._file or now.st_size < self._at
                if not anew and now.st_size == self._size:
                    return False, rows
                self._file, self._size = (now.st_dev, now.st_ino), now.st_size
                self._at = lines.seek(0 if anew else self._at)
                for line in lines:
                    if line.endswith(b"\n"):
                        self._at += len(line)
                        rows += filter(None, [parse(line)])
        except OSError:  # not there yet, or no more
            anew, self._file, self._at, self._size = self._file is not None, None, 0, 0
        return anew, rows
