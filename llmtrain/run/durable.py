"""Files that survive a crash and a power cut: write aside, fsync, rename, fsync the folder (reliability F2, F3)."""

import os
import secrets
from pathlib import Path


def sync(path: Path) -> None:
    """fsync a file or a folder. Raises OSError, and then nothing about `path` is promised."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def exists(path: Path) -> bool:
    """Whether `path` is there; a name that no file can have (too long, with a NUL) is not."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def aside(path: Path, purpose: str = "write") -> Path:
    """A name beside `path` that no other process uses."""
    return path.with_name(f".tmp-{purpose}-{path.name}-{secrets.token_hex(4)}")


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text`, whole or not at all. Raises OSError, leaving what was there before."""
    partial = aside(path)
    try:
        with partial.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync(path.parent)


def point(link: Path, target: str) -> None:
    """Let the symlink `link` point at `target`, a name beside it. Raises OSError when `link` is no symlink."""
    if link.is_symlink():
        if str(link.readlink()) == target:
            return
    elif link.exists():
        raise FileExistsError(f"{link} is not a symlink; it was left as it is")
    partial = aside(link)
    try:
        partial.symlink_to(target)
        partial.replace(link)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync(link.parent)
