"""SIGTERM and SIGINT ask for an end that saves first; a second one ends the process at once."""

import os
import signal
import threading
import time
from types import FrameType
from typing import Any

from llmtrain.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT)
_open: list["StopSignal"] = []  # a pipeline's, and inside it its stage's: a signal is for both


class StopSignal:
    """Context manager; `requested` is the number of the signal that came, else None.

    grace: seconds in which a repeated signal is taken for the same request. A launcher forwards what its workers got
    from the terminal as well, and that must not cost them the save. Outside the main thread it only listens to check().
    early: while it is set there is nothing to save: a signal raises Interrupted with it, wherever the program is.
    """

    def __init__(self, grace: float = 0.0, early: str | None = None):
        self.requested: int | None = None
        self.early = early
        self._grace, self._at = grace, 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignal":
        if _open:  # what came before this stage of a pipeline began is for it too
            self.requested, self._at = _open[-1].requested, _open[-1]._at
        _open.append(self)
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._came) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
        _open.remove(self)

    def check(self) -> None:
        """Raise Interrupted when a signal came, for work that has nothing to save."""
        if self.requested is not None:
            raise Interrupted(self.requested)

    def _came(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if self.requested is not None and now - self._at >= self._grace:
            os._exit(
                128 + number
            )  # no clean-up: the lock goes with the process, leftovers are removed at the next start
        early = None
        for stop in _open:
            if stop.requested is None:
                stop.requested, stop._at = number, now
                early = stop.early if stop is _open[-1] else None
        if early is not None:
            raise Interrupted(number, early)
