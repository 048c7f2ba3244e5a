"""One writer per run directory: an flock that the kernel frees when its owner dies, however it dies."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llmtrain.errors import LockedError, RunError

NAME = ".lock"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
ATTEMPTS, PAUSE = 6, 0.05  # is_held() and a program being started share the lock for an instant; seconds

_held: set[int] = set()


def _drop_in_child() -> None:
    """A forked child shares the lock and would keep it after the owner's death (reliability F12)."""
    for handle in _held:
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_drop_in_child)


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Own the run directory `path` until the block ends. Raises LockedError naming the owner, RunError."""
    handle = _open(path)
    try:
        _take(handle, path)
        _held.add(handle)
        os.ftruncate(handle, 0)
        with suppress(OSError):  # a full disk: the lock holds without the record of its owner
            os.pwrite(handle, json.dumps(_me()).encode(), 0)
        yield
    finally:
        if handle in _held:
            os.ftruncate(handle, 0)
        _held.discard(handle)
        os.close(handle)


def refuse_second(path: Path) -> None:
    """Raises LockedError naming the owner when another process owns `path`: a look before anything slow is loaded."""
    if is_held(path):
        with hold(path):
            return


def is_held(path: Path) -> bool:
    """Whether a living process owns the run directory `path`."""
    try:
        handle = os.open(path / NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path / NAME, flags, 0o644)
    except OSError as error:
        raise RunError(
            f"{path / NAME}: cannot be opened for writing ({error.strerror}); a run needs its folder"
        ) from error


def _take(handle: int, path: Path) -> None:
    for attempt in range(ATTEMPTS):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if attempt + 1 < ATTEMPTS:
                time.sleep(PAUSE)
        except OSError as error:
            raise RunError(
                f"{path}: its file system has no locks ({error.strerror}); put run.root elsewhere"
            ) from error
    raise LockedError(f"{path} is in use by {_owner(handle)}; wait for it, or stop it with kill -TERM")


def _me() -> dict[str, str | int]:
    boot = BOOT_ID.read_text().strip() if BOOT_ID.is_file() else ""
    return {"pid": os.getpid(), "host": socket.gethostname(), "boot_id": boot, "since": time.strftime("%F %T")}


def _owner(handle: int) -> str:
    try:
        record = json.loads(os.pread(handle, 4096, 0))
        return f"process {record['pid']} on {record['host']} since {record['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
