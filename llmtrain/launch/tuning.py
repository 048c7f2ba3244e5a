"""Settings of the C library and of OpenMP that make a CPU faster, and the record of what is in force. No torch here.

None of them changes a number. docs/performance.md tells what each brings.
"""

import ctypes
import os
import platform
import sys
from typing import Any

# How often a thread of torch's pool looks for new work before it sleeps. Unbounded it burns the core that another
# process, or the thread that everybody waits for, could have. Read once, when torch loads its OpenMP.
SPIN = ("GOMP_SPINCOUNT", "1000")
# glibc's mallopt(3): large blocks come from the heap and stay there. By default each large tensor is mapped anew and
# given back, and every page of it is zeroed and faulted in again at every step.
MALLOC = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, 2**31 - 1), "M_TOP_PAD": (-2, 64 * 2**20)}
OWN = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")  # whoever set these has chosen an allocator or its settings

_in_force: dict[str, Any] = {}


def apply(wanted: bool) -> None:
    """Tune this process, and what it starts, unless that is done or not wanted; called before torch loads.

    What somebody has set in the environment stays. What can no longer be set is left out of the record.
    """
    note(tune=wanted)
    if not wanted:
        return
    name, value = SPIN
    if "torch" not in sys.modules:
        os.environ.setdefault(name, value)
        note(**{name: os.environ[name]})
    elif name not in _in_force and name in os.environ:  # whoever started this process had set it
        note(**{name: os.environ[name]})
    if "malloc" not in _in_force and _has_mallopt():
        library = ctypes.CDLL(None)
        note(malloc={name: value for name, (number, value) in MALLOC.items() if library.mallopt(number, value) == 1})


def _has_mallopt() -> bool:
    return platform.libc_ver()[0] == "glibc" and not any(key.startswith(OWN) for key in os.environ)


def note(**settings: Any) -> None:
    """Record settings of the process that are in force."""
    _in_force.update(settings)


def in_force() -> dict[str, Any]:
    """What was applied or noted, for the record of a run."""
    return dict(_in_force)
