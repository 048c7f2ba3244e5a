"""The SIMULATED annotator: gold graders with label noise stand in for the people who would rank the answers."""

import heapq
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache

from llmtrain.data import validate
from llmtrain.data.microworld.rows import annotate, grade
from llmtrain.data.records import Prompt, Ranking
from llmtrain.evaluate.hhh import H
from llmtrain.run.seeding import derive

FOREIGN = "foreign"  # the source of an answer to another prompt
USABLE = 2  # gold level from which an answer is good enough to stand as a foreign one


@dataclass(frozen=True)
class Answer:
    """What a policy wrote; source says which one."""

    text: str
    ended: bool
    source: str


def rank(
    prompts: Sequence[Prompt], answers: Sequence[Sequence[Answer]], foreign: int, noise: float, seed: int
) -> list[Ranking]:
    """Rankings of the answers to each prompt, `foreign` good answers to other prompts among them.

    Prompts whose answers are all of one level give none. An answer that was cut off is not ranked: as a row of data it
    would get an EOS that the model never wrote (correctness A4), and PPO scores such answers by a rule of their own.
    """
    rng = random.Random(derive(seed, "rank"))
    texts = [[a.text for a in given if a.ended and storable(a.text)] for given in answers]
    rankings = []
    for prompt, given, others in zip(prompts, texts, strangers(prompts, texts, foreign, rng), strict=True):
        ranking = annotate(prompt, given + others, noise, rng)
        if ranking is not None:
            rankings.append(ranking)
    return rankings


def among(
    prompts: Sequence[Prompt], answers: Sequence[Sequence[Answer]], foreign: int, seed: int
) -> list[list[Answer]]:
    """The answers to each prompt, and behind them `foreign` ones to other prompts: for people to rank."""
    texts = [[a.text for a in given if a.ended and storable(a.text)] for given in answers]
    others = strangers(prompts, texts, foreign, random.Random(derive(seed, "foreign")))
    pairs = zip(answers, others, strict=True)
    return [[*given, *(Answer(text, True, FOREIGN) for text in found)] for given, found in pairs]


def strangers(prompts: Sequence[Prompt], texts: Sequence[list[str]], n: int, rng: random.Random) -> Iterator[list[str]]:
    """For each prompt `n` answers to other prompts, good ones where there are graders.

    Half of them come from the other H's, the rest from the same H, always from the prompts that share most words with
    this one: what is refused there and granted here must be told apart by more than the names in it.
    """
    good: dict[str, list[tuple[Prompt, list[str]]]] = defaultdict(list)
    for prompt, given in zip(prompts, texts, strict=True):
        usable = [text for text in given if "h" not in prompt.meta or grade(prompt, text) >= USABLE]
        if usable:
            good[prompt.meta.get("h", "")].append((prompt, usable))
    for prompt in prompts:
        own = prompt.meta.get("h", "")
        others = [h for h in H if h != own and good[h]]
        wanted = Counter(others[i % len(others)] if i % 4 < 2 and others else own for i in range(n))
        yield [rng.choice(usable) for h, n in wanted.items() for usable in nearest(prompt, good[h], n, rng)]


def nearest(prompt: Prompt, others: Sequence[tuple[Prompt, list[str]]], n: int, rng: random.Random) -> list[list[str]]:
    """The answers to the `n` other prompts that share most words with this one; of equals by chance."""
    own = words(prompt)
    near = heapq.nlargest(n, others, key=lambda o: (o[0] is not prompt, len(own & words(o[0])), rng.random()))
    return [usable for other, usable in near if other is not prompt]


def words(prompt: Prompt) -> frozenset[str]:
    """The words of the request."""
    return _words(prompt.messages[-1].content)


@cache
def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text))


def storable(text: str) -> bool:
    """Whether a row of data may hold this answer: not empty, no NUL. A hot policy writes anything."""
    try:
        validate.text(text, "answer")
    except validate.BadRow:
        return False
    return True


def row(ranking: Ranking) -> dict:
    """A line of rankings.jsonl."""
    return {
        "prompt": [asdict(m) for m in ranking.prompt],
        "responses": list(ranking.responses),
        "ranks": list(ranking.ranks),
        "annotator": ranking.annotator,
    }
