"""The names that a command line can mean, and the nearest to one that there is not."""

import dataclasses
import difflib
from collections.abc import Iterable, Iterator
from functools import cache
from typing import get_type_hints

from llmtrain.config.paths import defaults, parts
from llmtrain.config.schema import COMMANDS


def meant(word: str, names: Iterable[str]) -> str:
    """The nearest name as the end of a message."""
    near = difflib.get_close_matches(word, list(names), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def unknown(command: str, key: str) -> str:
    """What to say about a key that `command` does not have."""
    text = f"{key}: there is no such key"
    leaf = key.rpartition(".")[2]
    theirs = [f"{part}.{key}" for part in parts(command) if key in known(part)]
    if theirs:
        return f"{text}; a stage's own goes under its name: {', '.join(theirs)}"
    leaves = {name.rpartition(".")[2]: name for name in reversed(known(command))}
    near = difflib.get_close_matches(key, known(command), n=1)
    near = near or [leaves[name] for name in difflib.get_close_matches(leaf, leaves, n=1)]
    if near:
        return f"{text}; did you mean {near[0]}?"
    others = [other for other in COMMANDS if key in known(other)]
    return f"{text}, it belongs to {' and '.join(others)}; drop it" if others else f"{text}; --help lists them"


@cache
def known(command: str) -> list[str]:
    """Every key of a command, dotted, its groups and parts among them."""
    return list(dict.fromkeys([*_keys(COMMANDS[command], ""), *defaults(command)]))


def _keys(cls: type, at: str) -> Iterator[str]:
    for name, kind in get_type_hints(cls).items():
        yield f"{at}{name}"
        if dataclasses.is_dataclass(kind):
            yield from _keys(kind, f"{at}{name}.")  # type: ignore[arg-type]
