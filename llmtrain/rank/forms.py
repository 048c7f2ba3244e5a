"""What a page sends -> a ballot. Every fault is an HTTPException with one sentence that says what was wrong."""

import hashlib
import hmac
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException

from llmtrain.rank.records import FLAGS, Ballot, Item, dense

REASON = 500  # characters of a skip's reason


class Blind:
    """Under which names, and in which order, a rater sees the responses of an item: both from `key` alone.

    So they are the same after a reload and a restart, differ from rater to rater, and tell nothing about what wrote a
    response or where it stands in the item.
    """

    def __init__(self, key: bytes):
        self._key = key

    def names(self, rater: str, item: Item) -> dict[str, int]:
        """name -> index of the response, in the order in which the rater sees them."""
        return dict(sorted((self._name(rater, item.id, index), index) for index in range(len(item.responses))))

    def _name(self, rater: str, item: str, index: int) -> str:
        said = f"answer\0{rater}\0{item}\0{index}".encode()
        return hmac.new(self._key, said, hashlib.sha256).hexdigest()[:32]


def only(fields: Mapping[str, Any], *allowed: Sequence[str]) -> None:
    """The body has exactly one of these sets of keys; a key with ? may be missing."""
    for keys in allowed:
        needed = {key for key in keys if not key.endswith("?")}
        if needed <= fields.keys() <= {key.rstrip("?") for key in keys}:
            return
    shapes = " or ".join("{" + ", ".join(keys) + "}" for keys in allowed)
    raise HTTPException(400, f"The body has the keys {{{_list(fields)}}}; it must have {shapes}.")


def key(fields: Mapping[str, Any]) -> str:
    """The key under which a client sends something, again if need be: a UUID, in its usual writing."""
    given = fields["key"]
    try:
        if isinstance(given, str) and str(uuid.UUID(given)) == given.lower():
            return given.lower()
    except ValueError:
        pass
    raise HTTPException(400, "'key' is not a UUID, as crypto.randomUUID() makes it.")


def ballot(fields: Mapping[str, Any], names: Mapping[str, int]) -> Ballot:
    """Of {skip} or {ranks, flags}, for the responses under these names."""
    if "skip" in fields:
        return Ballot(None, _reason(fields["skip"]))
    ranks, flags = fields["ranks"], fields.get("flags", {})
    _known("ranks", ranks, names)
    missing = [number for number, name in enumerate(names, start=1) if name not in ranks]
    if missing:
        raise HTTPException(400, f"'ranks' lacks answer {_list(missing)} of {len(names)}: every answer needs a rank.")
    for rank in ranks.values():
        if type(rank) is not int or rank < 1:  # True is an int to isinstance
            raise HTTPException(400, f"'ranks' holds {rank!r:.40}: a rank is a whole number from 1 on.")
    _known("flags", flags, names)
    for said in flags.values():
        _flags(said)
    by_index = sorted(names, key=lambda name: names[name])
    return Ballot(
        dense([ranks[name] for name in by_index]), None, tuple(dict(flags.get(name, {})) for name in by_index)
    )


def _reason(given: object) -> str:
    if not isinstance(given, str) or not given.strip():
        raise HTTPException(400, "'skip' must say why: a text that is not empty.")
    if len(given) > REASON:
        raise HTTPException(400, f"'skip' has {len(given)} characters; at most {REASON} are taken.")
    return given.strip()


def _known(word: str, given: object, names: Collection[str]) -> None:
    if not isinstance(given, dict):
        raise HTTPException(400, f"'{word}' must be an object with answer ids as its keys.")
    if not given.keys() <= set(names):
        raise HTTPException(400, f"'{word}' names an answer that this task does not have: reload the page.")


def _flags(said: object) -> None:
    if not isinstance(said, dict):
        raise HTTPException(400, f"The flags of an answer must be an object of {_list(FLAGS)}.")
    if not said.keys() <= set(FLAGS):
        raise HTTPException(400, f"'flags' has an unknown word; known are {_list(FLAGS)}.")
    if not all(isinstance(value, bool) for value in said.values()):
        raise HTTPException(400, "A flag is true or false; leave it out where nothing was said.")


def _list(words: Collection[object]) -> str:
    return ", ".join(f"{word!s:.40}" for word in list(words)[:10])
