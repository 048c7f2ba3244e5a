"""What this machine has: memory, room on the disk, and how fast it multiplies and reads."""

import os
import shutil
import time
from pathlib import Path

import torch

from llmtrain.estimate.machine import Machine

CGROUP = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
SIDE = 1024  # of the square matrices that are multiplied
COPIED = 64 * 2**20  # bytes, more than a cache holds


def here(cuda: bool, half: bool, root: str, flops: float | None) -> Machine:
    """Look, and unless `flops` is given multiply for a fraction of a second. half: in bfloat16. root: of the runs."""
    device = torch.device("cuda" if cuda else "cpu")
    free = torch.cuda.mem_get_info()[0] if cuda else _free()
    speed = flops or matmul(device, torch.bfloat16 if half else torch.float32)
    return Machine(device.type, free, disk_free(Path(root)), speed, copying(device))


def disk_free(folder: Path) -> int:
    """Bytes free where `folder` is or will be."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def matmul(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a product of squares, the best of several within a fifth of a second."""
    a, b = (torch.ones(SIDE, SIDE, device=device, dtype=dtype) for _ in range(2))
    return 2 * SIDE**3 / _least(lambda: a @ b, device)


def copying(device: torch.device) -> float:
    """Bytes a second that are read; a copy reads and writes each once."""
    source = torch.ones(COPIED // 4, device=device)
    target = torch.empty_like(source)
    return 2 * COPIED / _least(lambda: target.copy_(source), device)


def _least(work, device: torch.device) -> float:
    """Seconds of one call, the best seen; the first, which sets things up, does not count."""
    work()
    best, end = float("inf"), time.monotonic() + 0.2
    while time.monotonic() < end:
        _wait(device)
        began = time.perf_counter()
        work()
        _wait(device)
        best = min(best, time.perf_counter() - began)
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _free() -> int:
    """Bytes of memory that a process may still take, a container's limit included."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    info = Path("/proc/meminfo")
    if info.is_file():
        found = [line.split() for line in info.read_text().splitlines() if line.startswith("MemAvailable")]
        limits += [int(words[1]) * 1024 for words in found]
    for file in map(Path, CGROUP):
        text = file.read_text().strip() if file.is_file() else "max"
        limits += [int(text)] if text.isdigit() else []
    return min(limits)
