"""What people are asked and what they say: an item, a ballot on it, the vote that a ballot becomes."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmtrain.data.records import Message

FLAGS = ("helpful", "honest", "harmless")


@dataclass(frozen=True)
class Item:
    """Answers to one prompt, to be ranked. `sources` says, answer by answer, what wrote it; no rater sees that."""

    id: str  # 64 hex digits, from the prompt and the responses
    messages: tuple[Message, ...]
    responses: tuple[str, ...]
    sources: tuple[str, ...]

    @classmethod
    def of(cls, messages: Sequence[Message], responses: Sequence[str], sources: Sequence[str]) -> "Item":
        """An item under its own id. The same prompt and responses give the same id, whatever their order and sources:
        so nobody can try out, from the id, in which order they stand.

        Raises ValueError without a prompt, with fewer than two responses, or unless each has one source.
        """
        if not messages or len(responses) < 2 or len(responses) != len(sources):
            raise ValueError(
                "an item needs a prompt and two or more responses with a source each, "
                f"not {len(messages)} messages, {len(responses)} responses and {len(sources)} sources"
            )
        said = json.dumps([[[m.role, m.content] for m in messages], sorted(responses)], ensure_ascii=True)
        name = hashlib.sha256(said.encode()).hexdigest()
        return cls(name, tuple(messages), tuple(responses), tuple(sources))


@dataclass(frozen=True)
class Ballot:
    """What one person says about one item: ranks, or the reason for which it was skipped.

    ranks   one per response, in the item's own order; 1 is best, equal ranks are a tie, no number is left out
    flags   one mapping per response, from a word of FLAGS to yes or no; a missing word was not said
    """

    ranks: tuple[int, ...] | None
    skip: str | None = None
    flags: tuple[dict[str, bool], ...] = ()

    def to_json(self) -> str:
        """One text for equal ballots, whatever the order in which flags were set."""
        flags = [dict(sorted(of_one.items())) for of_one in self.flags]
        return json.dumps({"ranks": self.ranks, "skip": self.skip, "flags": flags}, ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str) -> "Ballot":
        row: Mapping[str, Any] = json.loads(text)
        ranks = None if row["ranks"] is None else tuple(row["ranks"])
        return cls(ranks, row["skip"], tuple(row["flags"]))


@dataclass(frozen=True)
class Vote:
    """A ballot that was stored. `time`: seconds since 1970, UTC."""

    item: Item
    rater: str
    ballot: Ballot
    time: float


@dataclass(frozen=True)
class Progress:
    """How far the ranking is. Votes that were skips count as votes: an item is not offered for ever."""

    done: int  # votes that stand, at most raters_per_prompt an item
    total: int  # items times raters_per_prompt
    mine: int  # standing votes of this rater, skips among them
    skipped: int  # of these, the skips
    left_for_me: int  # items that want more votes and have none of this rater
    raters: dict[str, int]  # standing votes of everyone who voted, by name


def dense(ranks: Sequence[int]) -> tuple[int, ...]:
    """The same order and ties with no number left out: (2, 7, 2) -> (1, 2, 1)."""
    place = {rank: number for number, rank in enumerate(sorted(set(ranks)), start=1)}
    return tuple(place[rank] for rank in ranks)
