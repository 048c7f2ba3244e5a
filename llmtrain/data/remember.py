"""Small results of long work, kept as text beside the tokenised cache; read again only if they are what was written."""

import hashlib
import json
import logging
import secrets
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)


def remembered(folder: str | Path, what: str, parts: list[object], make: Callable[[], str]) -> str:
    """What `make` gives, or gave when it was called before for the same `parts`, which decide it altogether.

    what: a word for the file's name. A folder that cannot be written costs the memory alone.
    """
    key = _digest(json.dumps(parts))
    file = Path(folder).expanduser() / f"{what}-{key[:32]}.txt"
    try:
        digest, _, text = file.read_text(encoding="utf-8").partition("\n")
        if digest == _digest(text):
            return text
        log.warning("%s is damaged; it is made again", file)
    except (OSError, ValueError):  # none yet, or no text at all
        log.debug("%s is made", file)
    text = make()
    partial = file.with_name(f".tmp-{secrets.token_hex(6)}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(f"{_digest(text)}\n{text}", encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        log.debug("%s is not kept (%s)", file, error)
    return text


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
