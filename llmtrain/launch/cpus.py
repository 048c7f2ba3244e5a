"""How many CPU cores this process may use: the affinity of the process, and the quota of its control groups.

Where a container is given two cores of a host of sixty-four, torch would start a thread for each of the host's and they
would wait for each other.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MEMBERSHIP = Path("/proc/self/cgroup")
MOUNT = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpu,cpuacct", "cpuacct,cpu")  # what the folder of version 1 is called


def usable() -> int:
    """Cores that this process may keep busy, at least 1."""
    allowed = quota()
    return affinity() if allowed is None else max(1, min(affinity(), math.ceil(allowed)))


def affinity() -> int:
    """Cores that the scheduler may put this process on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # no such call outside Linux
        return os.cpu_count() or 1


def quota(membership: Path = MEMBERSHIP, mount: Path = MOUNT) -> float | None:
    """Seconds of CPU in a second that the control groups of this process, and those above, leave to it; None: any."""
    found = [limit for folder in _groups(membership, mount) if (limit := _limit(folder)) is not None]
    return min(found, default=None)


def _groups(membership: Path, mount: Path) -> Iterator[Path]:
    """The folders of this process's groups and of those above, version 2 and 1.

    A container sees its own group as the mount itself, while the membership may still tell the host's path.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        inside = PurePosixPath(path.lstrip("/"))
        for root in [mount / name for name in CONTROLLERS] if controllers else [mount, mount / "unified"]:
            yield from (root / part for part in (inside, *inside.parents))


def _limit(group: Path) -> float | None:
    """The quota of one group over its period; None without one."""
    try:
        if (group / "cpu.max").is_file():
            words = (group / "cpu.max").read_text().split()
        else:
            words = [(group / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period")]
        spent, period = (float(word) for word in words)
    except (OSError, ValueError):  # no such file, or "max"
        return None
    return spent / period if spent > 0 and period > 0 else None
