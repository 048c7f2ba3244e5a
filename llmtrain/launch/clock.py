"""How long it takes from Enter to the first step."""

import os
import time
from pathlib import Path


def _age() -> float:
    """Seconds that this process has lived; 0 where only Linux could tell."""
    try:
        ticks = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]  # starttime, proc(5)
        return time.clock_gettime(time.CLOCK_BOOTTIME) - int(ticks) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError):
        return 0.0


_began = time.monotonic() - max(0.0, _age())
_told = False


def begin() -> None:
    """A run begins. The first one of a process began with the process."""
    global _began
    if _told:
        _began = time.monotonic()


def waited() -> float:
    """Seconds since the run began, asked at its first step."""
    global _told
    _told = True
    return time.monotonic() - _began
