"""Who may come in: one-time links that turn into a signed cookie, and the token that a page sends along with a POST."""

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from llmtrain.errors import RunError

KEY_BYTES = 32
OPEN_LINKS = 20  # of one name; the oldest goes when one more is asked for, so that links do not fill the memory


class Doors:
    """The people of a page by name. A link works once and dies with the process; a cookie lives as long as the key."""

    def __init__(self, key: bytes, names: Sequence[str]):
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(key)}")
        if not names or len(set(names)) != len(names) or not all(names):
            raise ValueError(f"names are at least one, different and not empty: {list(names)}")
        self.names = tuple(names)
        self._key = key
        self._links: dict[str, list[bytes]] = {name: [] for name in names}  # digests: no list of what opens the door

    @classmethod
    def keyed(cls, file: Path, names: Sequence[str]) -> "Doors":
        """Doors under the key in `file`, which is made when it is not there, readable by its owner alone.

        Raises RunError when the file is no such key or when others may read it.
        """
        try:
            _make(file)
        except FileExistsError:
            pass
        except OSError as error:
            raise RunError(f"{file}: the key of the page cannot be written ({error.strerror})") from error
        return cls(_read(file), names)

    def link(self, name: str) -> str:
        """A new token that lets its bearer in as `name`, once."""
        token = secrets.token_urlsafe(KEY_BYTES)
        self._links[name] = [*self._links[name], _digest(token)][-OPEN_LINKS:]
        return token

    def redeem(self, token: str) -> str | None:
        """The cookie value for a link's token, which is used up with that; None for any other token."""
        given, found = _digest(token), None
        for name, links in self._links.items():
            for link in links:
                if hmac.compare_digest(link, given):  # every link is compared: the time says nothing
                    found = name
        if found is None:
            return None
        self._links[found].remove(given)
        return f"{_word(found)}.{self._sign('cookie', found)}"

    def who(self, cookie: str) -> str | None:
        """Whose cookie value this is; None when it is not one of ours, or its name is no longer in the list."""
        word, _, signature = cookie.partition(".")
        name = next((name for name in self.names if _word(name) == word), None)
        if name is None or not same(signature, self._sign("cookie", name)):
            return None
        return name

    def csrf(self, name: str) -> str:
        """What the page of `name` sends in X-CSRF-Token; no other site can read it."""
        return self._sign("csrf", name)

    def _sign(self, purpose: str, name: str) -> str:
        return hmac.new(self._key, f"{purpose}\0{name}".encode(), hashlib.sha256).hexdigest()


def same(left: str, right: str) -> bool:
    """left == right, in a time that does not tell how much of it was right."""
    return hmac.compare_digest(left.encode("utf-8", "surrogatepass"), right.encode("utf-8", "surrogatepass"))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _word(name: str) -> str:
    """A name in letters that a cookie takes."""
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _make(file: Path) -> None:
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, secrets.token_bytes(KEY_BYTES))
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as handle:
            mode, key = os.fstat(handle.fileno()).st_mode, handle.read(KEY_BYTES + 1)
    except OSError as error:
        raise RunError(f"{file}: the key of the page cannot be read ({error.strerror})") from error
    if len(key) != KEY_BYTES:
        raise RunError(f"{file}: no key of {KEY_BYTES} bytes; remove it, and everybody comes in by a new link")
    if os.name == "posix" and mode & 0o077:
        raise RunError(f"{file}: others on this machine may use this key; remove it, or: chmod 600 '{file}'")
    return key
