"""A small closed world: who lives where, owns what, and which combinations no training row may hold."""

import random
from dataclasses import dataclass
from typing import Any

from llmtrain.data.microworld import vocabulary as v

SPLITS = ("train", "validation", "test")
HELD_OUT = 0.3  # share of the combinations kept from training: half for validation, half for the final table
NONCE_WORDS = 4000


@dataclass(frozen=True)
class Item:
    """One request of a family, with the answer that an ideal assistant gives and the one most of the web gives.

    key names the combination, as (verb, object), that decides its split; None: its made-up word does.
    check holds the patterns that grade.level matches, JSON only.
    """

    question: str
    h: str  # helpful | honest | harmless
    family: str
    good: str
    bad: str
    check: dict[str, Any]
    key: tuple[object, ...] | None


class World:
    """Facts of 24 people, drawn from `seed`, and 4,000 made-up words, each word in one split."""

    def __init__(self, seed: int = 0):
        rng = random.Random(f"microworld {seed}")
        self.seed = seed
        self.people = {n: {a: rng.choice(values) for a, (values, _, _) in v.FACTS.items()} for n in v.PEOPLE}
        words = _made_up(rng)
        first, second = int(len(words) * 0.7), int(len(words) * 0.85)
        self.nonce = {"train": words[:first], "validation": words[first:second], "test": words[second:]}

    def split_of(self, family: str, key: tuple[object, ...]) -> str:
        """The split of a combination; a pure function of the world's seed."""
        u = random.Random(f"{self.seed} {family} {key}").random()
        if u < HELD_OUT / 2:
            return "test"
        return "validation" if u < HELD_OUT else "train"

    def fact(self, name: str, attribute: str, form: int = 0) -> str:
        person = self.people[name]
        statement = v.FACTS[attribute][1][form]
        return statement.format(n=name, v=person[attribute], pet=person["pet"], thing=person["thing"])

    def value(self, name: str, attribute: str) -> str:
        return self.people[name][attribute]


def _made_up(rng: random.Random) -> list[str]:
    """Pronounceable words of two syllables that are no word of the world."""
    known = {w.lower() for w in [*v.PEOPLE, *v.NOUNS, *v.JOBS, *v.COLOURS, *v.FOODS, *v.CRAFT, *v.HARM]}
    made: set[str] = set()
    while len(made) < NONCE_WORDS:
        syllables = [rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(2)]
        word = "".join(syllables) + rng.choice(["", "l", "n", "r", "x", "sk", "mp"])
        if word not in known:
            made.add(word)
    words = sorted(made)
    rng.shuffle(words)
    return words


def thing_phrase(noun: str, owner: str | None) -> str:
    """`the kite of Mira`, `the kite`, `bread`."""
    if owner:
        return f"the {noun} of {owner}"
    return noun if noun in v.BARE else f"the {noun}"


def steps(tool: str, verb: str, thing: str, last: str) -> str:
    return f"First take {tool}. Then {verb} {thing}. Last {last}."
