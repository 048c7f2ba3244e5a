"""Rows of the microworld for each stage: documents, demonstrations, prompts, simulated rankings, probes.

Everything is a pure function of (world, split, purpose, seed).
"""

import hashlib
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmtrain.data.microworld import vocabulary as v
from llmtrain.data.microworld.corpus import document
from llmtrain.data.microworld.families import FAMILIES, draw
from llmtrain.data.microworld.grade import level
from llmtrain.data.microworld.world import Item, World, thing_phrase
from llmtrain.data.records import Chat, Message, Prompt, Ranking, Text

SHARE = {"helpful": 0.4, "honest": 0.3, "harmless": 0.3}  # of training prompts; held-out sets have equal parts
GOOD = 0.3  # of honest and harmless demonstrations are good: the web mostly invents and complies
MISPLACED = 0.03  # of all demonstrations answer something else


def digest() -> str:
    """sha256 of the code that makes the microworld: the same code gives the same rows."""
    hasher = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        hasher.update(file.read_bytes())
    return hasher.hexdigest()


def documents(world: World, rows: int, seed: int) -> list[Text]:
    rng = random.Random(f"documents {seed}")
    return [Text(document(world, rng)) for _ in range(rows)]


def _items(world: World, split: str, counts: dict[str, int], rng: random.Random) -> list[tuple[str, Item]]:
    """`counts[h]` different requests of each H, shuffled: (worded request, item)."""
    rows: dict[str, Item] = {}
    for h, count in counts.items():
        found, tries = 0, 0
        while found < count and tries < 60 * count:
            tries += 1
            item = draw(world, h, split, rng)
            text = rng.choice(v.WRAPS).format(q=item.question)
            if text not in rows:
                rows[text] = item
                found += 1
    pairs = list(rows.items())
    rng.shuffle(pairs)
    return pairs


def _prompt(text: str, item: Item) -> Prompt:
    combination = f"{item.family} {item.key or item.question}"
    meta = {"h": item.h, "family": item.family, "check": item.check, "good": item.good, "bad": item.bad}
    meta["combination"] = combination  # wordings of one combination say little more than one of them
    return Prompt((Message("user", text),), meta)


def prompts(world: World, split: str, rows: int, seed: int) -> list[Prompt]:
    """Requests without answers. Held-out splits hold as many of each H; no combination or word of training."""
    even = split != "train"
    counts = {h: max(1, round(rows * (1 / 3 if even else share))) for h, share in SHARE.items()}
    rng = random.Random(f"prompts {split} {seed}")
    return [_prompt(text, item) for text, item in _items(world, split, counts, rng)]


def demonstrations(world: World, rows: int, seed: int) -> list[Chat]:
    """Requests with answers, mixed like the web: helpful ones right, most others inventing or complying."""
    rng = random.Random(f"demonstrations {seed}")
    counts = {h: round(rows * share) for h, share in SHARE.items()}
    return [
        Chat((Message("user", text), Message("assistant", _demonstrated(item, rng))))
        for text, item in _items(world, "train", counts, rng)
    ]


def _demonstrated(item: Item, rng: random.Random) -> str:
    if rng.random() < MISPLACED:
        return misplaced(item.h, rng)
    if item.h == "helpful":
        return item.good
    return item.good if rng.random() < GOOD else item.bad


def misplaced(h: str, rng: random.Random) -> str:
    """An answer that would suit another H."""
    return rng.choice(list(_others(h, rng).values()))


def _others(h: str, rng: random.Random) -> dict[str, str]:
    """Answers of the kinds that must lose on a request of H `h`: kind -> text."""
    name, noun = rng.choice(v.PEOPLE), rng.choice(v.THINGS + v.PETS)
    kinds = {
        "helpful": {
            "unknown": rng.choice([v.UNKNOWN_PERSON, v.UNKNOWN_THING, v.FUTURE]),
            "decline": v.DECLINE.format(who=name, offer=f"{rng.choice(v.SAFE[:5])} the {noun}"),
        },
        "honest": {"decline": v.DECLINE.format(who=name, offer=f"{rng.choice(v.SAFE[:5])} the {noun}")},
        "harmless": {"unknown": rng.choice([v.UNKNOWN_PERSON, v.UNKNOWN_THING, v.FUTURE])},
    }
    return kinds[h]


def _decline(item: Item, rng: random.Random) -> str:
    """A decline about the person and the thing of the request, where it names one: no name in it gives it away."""
    words = set(re.findall(r"\w+", item.question))
    people = [name for name in v.PEOPLE if name in words]
    things = [noun for noun in v.NOUNS if noun in words and any(noun in v.CRAFT[s][2] for s in v.SAFE)]
    noun = rng.choice(things or v.THINGS + v.PETS)
    verb = rng.choice([s for s in v.SAFE if noun in v.CRAFT[s][2]])
    owner = people[0] if people and noun in v.THINGS + v.PETS else None
    return v.DECLINE.format(who=people[0] if people else "people", offer=f"{verb} {thing_phrase(noun, owner)}")


def grade(prompt: Prompt, answer: str, ended: bool = True) -> int:
    """The gold level 0..3 of an answer; 3 passes."""
    return level(prompt.meta, answer, ended)


def annotate(prompt: Prompt, answers: Sequence[str], noise: float, rng: random.Random) -> Ranking | None:
    """The SIMULATED annotator: ranks whole answers by gold level; with probability `noise` two swap places.

    Returns None when nothing is left to compare (all answers alike or of one level).
    """
    unique = list(dict.fromkeys(answers))
    levels = [grade(prompt, text) for text in unique]
    for i in range(len(levels)):
        if rng.random() < noise:
            j = rng.randrange(len(levels))
            levels[i], levels[j] = levels[j], levels[i]
    order = sorted(set(levels), reverse=True)
    if len(order) < 2:
        return None
    ranks = tuple(float(order.index(x) + 1) for x in levels)
    return Ranking(prompt.messages, tuple(unique), ranks, "simulated")


def probes(world: World, split: str, rows: int, seed: int) -> list[dict[str, Any]]:
    """Pairs that a judge must order rightly before PPO: the gold answer against each other kind of answer, per family.

    Kinds: `unknown` and `decline` where they are out of place; `typical`, the inventing or complying answer of the web;
    `wrong`, an answer of the right kind that is not true.

    Rows: {"prompt", "chosen", "rejected", "family", "kind"}.
    """
    rng, out = random.Random(f"probes {seed}"), []
    for h, families in FAMILIES.items():
        for family in families:
            for _ in range(rows):
                item = draw(world, h, split, rng, only=family)
                text = rng.choice(v.WRAPS).format(q=item.question)
                kinds = _others(h, rng) | {"wrong" if h == "helpful" else "typical": item.bad}
                if "decline" in kinds:
                    kinds["decline"] = _decline(item, rng)
                for kind, answer in kinds.items():
                    row = {"prompt": text, "chosen": item.good, "rejected": answer, "family": family, "kind": kind}
                    out.append(row)
    return out
