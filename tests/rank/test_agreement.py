import itertools
import math
import random

import pytest

from llmtrain.data.records import Message
from llmtrain.rank.agreement import agreement, alpha_ordinal
from llmtrain.rank.records import Ballot, Item, Vote


def votes(*items: dict[str, tuple[int, ...] | None]) -> list[Vote]:
    """One mapping per item: rater -> ranks, None for a skip."""
    found = []
    for number, ballots in enumerate(items):
        count = max(len(ranks or (1, 2)) for ranks in ballots.values())
        item = Item.of([Message("user", str(number))], [str(index) for index in range(count)], ["x"] * count)
        for rater, ranks in ballots.items():
            found.append(Vote(item, rater, Ballot(ranks, None if ranks else "no"), 0.0))
    return found


def test_alpha_of_krippendorffs_own_example():
    """Computing Krippendorff's Alpha-Reliability (2011), example of four observers and twelve units: ordinal .815."""
    observers = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    units = [[value for value in unit if value is not None] for unit in zip(*observers, strict=True)]
    assert alpha_ordinal(units) == pytest.approx(0.815, abs=0.0005)


def test_alpha_by_hand():
    """Values 1 2 | 2 1, each twice: o(1,2) = o(2,1) = 2, n = 4, distance ((1 + 1))^2 = 4: 1 - 3 * 16 / 32 = -1/2."""
    assert alpha_ordinal([(1, 2), (2, 1)]) == pytest.approx(-0.5)
    assert alpha_ordinal([(1, 1), (2, 2)]) == 1
    assert alpha_ordinal([(1, 1), (1, 1)]) is None
    assert alpha_ordinal([(1,), (2,)]) is None
    assert alpha_ordinal([]) is None


def test_three_people_by_hand():
    """Item one: ann 1 2 3, bob 1 3 2, cat 1 2 2. Item two: ann 1 2, bob 2 1; cat skipped. Item three: ann alone.

    Pairs of answers (12, 13, 23): ann + + +, bob + + -, cat + + 0. ann-bob 2/3, tau (3 - 2) / 3; ann-cat 2/3, tau
    2 / sqrt(3 * 2); bob-cat 2/3, tau 2 / sqrt(6). Item two: ann-bob 0/1, tau -1.
    """
    told = agreement(
        votes(
            {"ann": (1, 2, 3), "bob": (1, 3, 2), "cat": (1, 2, 2)},
            {"ann": (1, 2), "bob": (2, 1), "cat": None},
            {"ann": (2, 1)},
        )
    )
    assert told.n_shared == 2
    assert told.pairwise == pytest.approx(6 / 10)
    assert told.tau == pytest.approx(((1 / 3 + 2 * 2 / math.sqrt(6)) / 3 - 1) / 2)
    assert told.raters == pytest.approx({"ann": 4 / 7, "bob": 4 / 7, "cat": 4 / 6})


def test_nothing_shared_says_nothing():
    told = agreement(votes({"ann": (1, 2)}, {"bob": (1, 2), "ann": None}))
    assert (told.pairwise, told.tau, told.alpha, told.n_shared) == (None, None, None, 0)
    assert told.raters == {"ann": None, "bob": None}


def test_who_ties_everything_has_no_tau():
    told = agreement(votes({"ann": (1, 1, 1), "bob": (1, 2, 3)}))
    assert (told.pairwise, told.tau) == (0, None)


def test_against_slow_references():
    draw = random.Random(7)
    items = []
    for _ in range(12):
        count = draw.randint(2, 5)
        raters = draw.sample(["ann", "bob", "cat", "dan"], draw.randint(1, 4))
        items.append({rater: tuple(_dense([draw.randint(1, 3) for _ in range(count)])) for rater in raters})
    told = agreement(votes(*items))
    shared = [item for item in items if len(item) > 1]
    same, taus = [], []
    for item in shared:
        of_item = []
        for one, two in itertools.combinations(item.values(), 2):
            pairs = list(itertools.combinations(range(len(one)), 2))
            same += [_order(one[a], one[b]) == _order(two[a], two[b]) for a, b in pairs]
            of_item += [_tau_b(one, two)]
        defined = [tau for tau in of_item if tau is not None]
        taus += [sum(defined) / len(defined)] if defined else []
    assert told.pairwise == pytest.approx(sum(same) / len(same))
    assert told.tau == pytest.approx(sum(taus) / len(taus))
    units = [
        [ranks[answer] for ranks in item.values()] for item in shared for answer in range(len([*item.values()][0]))
    ]
    assert told.alpha == pytest.approx(_alpha(units))


def _dense(ranks: list[int]) -> list[int]:
    return [sorted(set(ranks)).index(rank) + 1 for rank in ranks]


def _order(one: int, two: int) -> str:
    return "better" if one < two else "worse" if one > two else "tied"


def _tau_b(x: tuple[int, ...], y: tuple[int, ...]) -> float | None:
    """(P - Q) / sqrt((P + Q + T)(P + Q + U)), as scipy.stats.kendalltau says it."""
    counts = dict.fromkeys(("P", "Q", "T", "U"), 0)
    for a, b in itertools.combinations(range(len(x)), 2):
        product = (x[a] - x[b]) * (y[a] - y[b])
        if product:
            counts["P" if product > 0 else "Q"] += 1
        elif x[a] != x[b] or y[a] != y[b]:
            counts["T" if x[a] == x[b] else "U"] += 1
    agree = counts["P"] + counts["Q"]
    below = (agree + counts["T"]) * (agree + counts["U"])
    return (counts["P"] - counts["Q"]) / math.sqrt(below) if below else None


def _alpha(units: list[list[int]]) -> float:
    """By pairs of single values, the distance summed over what lies between: Krippendorff's formula as printed."""
    values = [value for unit in units for value in unit]

    def distance(c: int, k: int) -> float:
        low, high = sorted((c, k))
        between = sum(values.count(g) for g in range(low, high + 1))
        return (between - (values.count(low) + values.count(high)) / 2) ** 2

    observed = sum(
        sum(distance(a, b) for a, b in itertools.permutations(unit, 2)) / (len(unit) - 1) for unit in units
    ) / len(values)
    expected = sum(distance(a, b) for a, b in itertools.permutations(values, 2)) / (len(values) * (len(values) - 1))
    return 1 - observed / expected
