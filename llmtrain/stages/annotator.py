"""The SIMULATED annotator: gold graders with label noise stand in for the people who would rank the answers."""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from llmtrain.data import validate
from llmtrain.data.microworld.rows import annotate, grade
from llmtrain.data.records import Prompt, Ranking
from llmtrain.evaluate.hhh import H
from llmtrain.run.seeding import derive

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

    Half of the foreign answers come from prompts of the other H's, the rest from the same H. Prompts whose answers are
    all of one level give none. An answer that was cut off is not ranked: as a row of data it would get an EOS that the
    model never wrote (correctness A4), and PPO scores such answers by a rule of their own.
    """
    rng = random.Random(derive(seed, "rank"))
    texts = [[a.text for a in given if a.ended and storable(a.text)] for given in answers]
    good: dict[str, list[str]] = {h: [] for h in H}
    for prompt, given in zip(prompts, texts, strict=True):
        good[prompt.meta["h"]] += [text for text in given if grade(prompt, text) >= USABLE]
    rankings = []
    for prompt, given in zip(prompts, texts, strict=True):
        own = prompt.meta["h"]
        others = [h for h in H if h != own and good[h]]
        wanted = [others[i % len(others)] if i % 4 < 2 and others else own for i in range(foreign)]
        ranking = annotate(prompt, given + [rng.choice(good[h]) for h in wanted if good[h]], noise, rng)
        if ranking is not None:
            rankings.append(ranking)
    return rankings


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
