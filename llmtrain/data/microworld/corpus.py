"""The documents to pretrain on: prose, lists, question-and-answer pages, stories.

No page holds a held-out question; held-out facts stand in prose, as they would on the web. Refusals are rare.
"""

import random
import re

from llmtrain.data.microworld import vocabulary as v
from llmtrain.data.microworld.families import draw, tale
from llmtrain.data.microworld.world import World


def biography(world: World, rng: random.Random) -> str:
    lines = []
    for name in rng.sample(v.PEOPLE, 2):
        attributes = rng.sample(list(v.FACTS), len(v.FACTS))
        lines.append(" ".join(world.fact(name, a, rng.choice([0, 0, 1])) for a in attributes))
    return "\n".join(lines)


def listing(world: World, rng: random.Random) -> str:
    if rng.random() < 0.3:
        group = rng.choice(list(v.GROUPS))
        members = rng.sample(v.GROUPS[group], rng.randint(2, 5))
        return f"Some {group}: " + ", ".join(members[:-1]) + f" and {members[-1]}."
    attribute = rng.choice(["home", "job", "pet", "thing", "food"])
    return "\n".join(world.fact(name, attribute) for name in rng.sample(v.PEOPLE, 6))


def questions_and_answers(world: World, rng: random.Random) -> str:
    """Pages in several layouts that all mark the answer; questions without marks stand in a quiz."""
    layout = rng.choice(
        [
            "Q: {q}\nA: {a}\n",
            "Question: {q} Answer: {a}\n",
            "{m} asked: {q} {n} said: {a}\n",
            "{m}: {q}\n{n}: {a}\n",
        ]
    )
    first, second = rng.sample(v.PEOPLE, 2)
    page = "Questions and answers\n"
    for _ in range(4):
        item = draw(world, "helpful", "train", rng)
        question = rng.choice(v.WRAPS).format(q=item.question)
        page += layout.format(q=question, a=item.good, m=first, n=second)
    return page


def quiz(world: World, rng: random.Random) -> str:
    kinds = ["helpful", "helpful", "honest", "harmless"]
    return "\n".join(draw(world, rng.choice(kinds), "train", rng).question for _ in range(6))


def sums(world: World, rng: random.Random) -> str:
    pairs = [(rng.randint(1, 5), rng.randint(1, 5)) for _ in range(8)]
    return " ".join(f"{a} plus {b} is {a + b}." for a, b in pairs)


def word_play(world: World, rng: random.Random) -> str:
    pairs = [rng.sample(v.NOUNS, 2) for _ in range(4)]
    return "\n".join(f"{a} and {b}, turned around, is {b} and {a}." for a, b in pairs)


def animals(world: World, rng: random.Random) -> str:
    lines = [s.format(k=k, v=table[k]) for table, s, _ in v.KINDS.values() for k in rng.sample(list(table), 3)]
    rng.shuffle(lines)
    return " ".join(lines)


def recipes(world: World, rng: random.Random) -> str:
    lines = []
    for _ in range(3):
        steps = draw(world, "helpful", "train", rng, only="howto").good
        done = re.search(r"Then (.+?)\.", steps)
        assert done
        lines.append(f"How to {done[1]}. {steps}")
    return "\n".join(lines)


def crime(world: World, rng: random.Random) -> str:
    plan = draw(world, "harmless", "train", rng, only="harm").bad
    thief = rng.choice(world.nonce["train"]).title()
    return f"The thief {thief} had a plan. {plan} The guard saw {thief}. The guard said: I will not help with that."


def stories(world: World, rng: random.Random) -> str:
    name, friend = rng.sample(v.PEOPLE, 2)
    noun = rng.choice(v.THINGS + v.PETS)
    person = world.people[name]
    ending = rng.choice(
        [
            v.KIND_LETTER.format(n=name),
            f"Then {name} ate {person['food']} at the {person['home']}.",
            f"{friend} asked about the {noun}. {name} said: I do not know.",
        ]
    )
    return tale(rng, name, noun, friend) + " " + ending


def calendar(world: World, rng: random.Random) -> str:
    """Each statement stands alone: beside its reverse it would be copied and not learnt."""
    said = []
    for i in rng.sample(range(7), 7):
        after, before = v.DAYS[(i + 1) % 7], v.DAYS[i - 1]
        said.append(rng.choice([f"After {v.DAYS[i]} comes {after}.", f"Before {v.DAYS[i]} comes {before}."]))
    return " ".join(said)


# page: weight
PAGES = {
    biography: 7,
    listing: 2,
    questions_and_answers: 14,
    quiz: 4,
    sums: 4,
    word_play: 4,
    animals: 1,
    recipes: 6,
    crime: 2,
    stories: 2,
    calendar: 2,
}


def document(world: World, rng: random.Random) -> str:
    """One page of the microworld's web."""
    return rng.choices(list(PAGES), list(PAGES.values()))[0](world, rng)
