"""`llmtrain runs --watch`: looks at the tree of runs and at those that go on, again and again."""

import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live as Screen

from llmtrain.errors import ConfigError, InitError
from llmtrain.run.frame import Shot, frame
from llmtrain.run.listing import Entry, forest, lines
from llmtrain.run.live import Live

BUSY = 0.05  # share of the time that reading the tree may take
EVERY = (0.2, 3600.0)  # seconds between two looks, at least and at most


class Watcher:
    """Looks at the runs under `root` again and again; a run without result is read on, not again."""

    def __init__(self, root: Path):
        self.root = root
        self._lives: dict[Path, Live] = {}
        self._shot = Shot([], [])
        self._next = 0.0
        self.pause = 1 / BUSY  # until the tree is read again, in times of what reading it took

    def look(self) -> Shot:
        """The tree as it stands; where there are many runs it is read less often, the running ones every time."""
        began = time.monotonic()
        if began >= self._next:
            seen: dict[Path, Live] = {}

            def told(path: Path) -> Live:
                seen[path] = self._lives.get(path) or Live(path)
                seen[path].look()
                return seen[path]

            tops = forest(self.root, told)
            self._lives = seen
            self._shot = Shot(tops, [(entry, seen[entry.path]) for entry in _going(tops) if entry.path in seen])
            self._next = began + (time.monotonic() - began) * self.pause
        else:
            for entry, live in self._shot.going:
                live.look()
                entry.step = str(live.step)
        return self._shot


def _going(tops: Sequence[Entry]) -> list[Entry]:
    """The running runs, newest first; a pipeline stands for itself only between its stages."""
    running = [line.entry for line in lines(tops) if line.entry.state == "running"]
    busy = [entry for entry in running if not any(entry.path in other.path.parents for other in running)]
    return sorted(busy, key=lambda entry: -(entry.created or 0))


def watch(root: Path, every: float, console: Console, *, must_exist: bool) -> None:
    """Show the runs under `root` until Ctrl-C, anew every `every` seconds.

    must_exist: a folder that is not there is an error; else it is waited for. Raises ConfigError, InitError.
    """
    if not EVERY[0] <= every <= EVERY[1]:
        raise ConfigError(f"--every={every:g}: takes seconds from {EVERY[0]:g} to {EVERY[1]:g}")
    if not console.is_terminal:
        raise ConfigError("--watch draws on a terminal, and the output is none; llmtrain runs prints the runs once")
    if must_exist and not root.is_dir():
        raise InitError(f"{root}: no such folder; llmtrain runs FOLDER takes the run.root of your runs")
    watcher = Watcher(root)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # gives the terminal back on its way out
    with suppress(KeyboardInterrupt), Screen(console=console, screen=True, auto_refresh=False) as screen:
        while True:
            shot = watcher.look()
            screen.update(Group(*frame(root, shot, console.width, console.height, time.strftime("%T"))), refresh=True)
            time.sleep(every)
