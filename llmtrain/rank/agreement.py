"""How far people agree, from items that two or more of them ranked. Skips say nothing here.

pairwise  of all pairs of responses that two people both compared: the share on which they say the same (better, worse
          or tied; a tie against a preference is a disagreement). By chance: 1/2 without ties.
tau       Kendall's tau-b of two people's ranks of one item: concordant minus discordant pairs, over the root of the
          product of both people's untied pairs; mean over the pairs of people on an item, then over items. 1 same
          order, -1 reversed. Who ties everything has no tau.
alpha     Krippendorff's alpha for ordinal data (K. Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011): one
          unit is one response of one item, its values are the ranks that people gave it; 1 - observed / expected
          disagreement. 1 perfect, 0 as by chance. None when all values are equal. The ranks of one item are no
          independent values, so it describes; it is no test.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import sqrt
from statistics import fmean

from llmtrain.rank.records import Vote

Signs = tuple[int, ...]  # per pair of responses: 1 the first is better, -1 the second, 0 tied


@dataclass(frozen=True)
class Agreement:
    """None where nothing was shared that could tell."""

    pairwise: float | None
    tau: float | None
    alpha: float | None
    n_shared: int  # items with ranks of two or more people
    raters: dict[str, float | None]  # by name: pairwise, with everyone else together


def agreement(votes: Iterable[Vote]) -> Agreement:
    """Of the standing votes."""
    ranked: dict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)  # item -> rater -> ranks
    names = set()
    for vote in votes:
        names.add(vote.rater)
        if vote.ballot.ranks is not None:
            ranked[vote.item.id][vote.rater] = vote.ballot.ranks
    shared = [by_rater for by_rater in ranked.values() if len(by_rater) > 1]
    same: Counter[str] = Counter()  # per rater: pairs of responses judged as another rater judged them
    compared: Counter[str] = Counter()
    taus = []
    for by_rater in shared:
        signs = {name: _signs(ranks) for name, ranks in by_rater.items()}
        of_item = []
        for one, two in combinations(signs, 2):
            equal = sum(a == b for a, b in zip(signs[one], signs[two], strict=True))
            for name in (one, two):
                same[name] += equal
                compared[name] += len(signs[one])
            of_item.append(_tau_b(signs[one], signs[two]))
        defined = [tau for tau in of_item if tau is not None]
        if defined:
            taus.append(fmean(defined))
    units = [unit for by_rater in shared for unit in zip(*by_rater.values(), strict=True)]
    return Agreement(
        pairwise=same.total() / compared.total() if compared else None,
        tau=fmean(taus) if taus else None,
        alpha=alpha_ordinal(units),
        n_shared=len(shared),
        raters={name: same[name] / compared[name] if compared[name] else None for name in sorted(names)},
    )


def alpha_ordinal(units: Iterable[Sequence[int]]) -> float | None:
    """Krippendorff's alpha of the values that each unit was given; None when they are all equal.

    A unit with one value is left out, since nothing there can agree.
    """
    coincidences: defaultdict[tuple[int, int], float] = defaultdict(float)
    totals: defaultdict[int, float] = defaultdict(float)  # per value: how often, in units of more than one
    for unit in (unit for unit in units if len(unit) > 1):
        counts = Counter(unit)
        for one, two in product(counts, repeat=2):
            coincidences[one, two] += counts[one] * (counts[two] - (one == two)) / (len(unit) - 1)
            totals[one] += counts[one] if one == two else 0
    values = sorted(totals)
    # How far a value lies up among all that were given: the distance of two is that of the middles of their ranges.
    below, middle = 0.0, {}
    for value in values:
        middle[value] = below + totals[value] / 2
        below += totals[value]
    observed = sum(weight * (middle[a] - middle[b]) ** 2 for (a, b), weight in coincidences.items())
    expected = sum(totals[a] * totals[b] * (middle[a] - middle[b]) ** 2 for a, b in product(values, repeat=2))
    return 1 - (below - 1) * observed / expected if expected else None


def _signs(ranks: Sequence[int]) -> Signs:
    return tuple((one < two) - (one > two) for one, two in combinations(ranks, 2))


def _tau_b(one: Signs, two: Signs) -> float | None:
    untied = sum(map(abs, one)) * sum(map(abs, two))
    return sum(a * b for a, b in zip(one, two, strict=True)) / sqrt(untied) if untied else None
