"""What can ail a policy that is trained on a judge's score or on rankings.

A round is a logged row of ppo. "Healthy runs" in the reasons are finished demo runs (docs/doctor.md has their numbers).
"""

import math

from llmtrain.doctor.record import Record, Seen
from llmtrain.objectives.intervals import wilson

ROUNDS = 5  # a window: means of single rounds jump by a tenth and more, those of five do not
START = 3  # rounds that stand for the beginning
SIGMAS = 2.5  # one-sided 0.6 %: a run is asked at each of some tens of evaluations

NEGATIVE_KL = -0.01  # nats per response; smaller is rounding, of which a whole response has less
KL_GROWTH = 2.0  # nats within two short windows: best-of-19 at once. The steepest of 20 demo runs and trials had 0.8
KL_FACTOR = 2.0  # a large KL also jumps by nats; it explodes when it doubles
GAIN = 0.1  # of what the score has ranged over: less is no gain
LONGER = 2.0  # healthy demo runs end at up to 1.4 times their first length, and are right to
LENGTH_CORRELATION = (
    0.3  # of score and length within a rollout; healthy runs have up to .6, without growing twice as long
)
COLLAPSED = 0.05  # share of the first entropy that is left; healthy demo runs keep .18 to .5
ENDED = 0.8  # one answer in five is scored as a fragment below this share; healthy runs have .98 and more
VALUE_ROUNDS = 10  # a critic with a warm-up and a new head needs some; healthy ones explain .4 by round 6
EXPLAINED = 0.2  # of the variance of the returns; healthy runs end at .75 to .95
VALUE_LOSS = 0.8  # of what it was at first


def kl_negative(record: Record) -> Seen | None:
    """The KL estimate stays below 0 beyond chance.

    The mean of log pi - log ref over samples of pi estimates a KL, which is never negative: sampler and scorer disagree
    (correctness C2). One round may be below by chance: all of a window have to be, and together clearly.
    """
    kl, se = record.last("ppo/kl", ROUNDS), record.last("ppo/kl_se", ROUNDS)
    if kl is None or se is None or max(kl.values) >= 0:
        return None
    noise = math.sqrt(sum(x * x for x in se.values)) / ROUNDS
    if kl.mean >= min(NEGATIVE_KL, -3 * noise):
        return None
    says = (
        f"KL {kl.mean:.3g} nats per response over {ROUNDS} rounds, {-kl.mean / max(noise, 1e-12):.3g} standard errors"
    )
    return Seen(kl.span, says + " below 0: sampler and trainer disagree", {"kl": kl.mean, "stderr": noise})


def kl_exploding(record: Record) -> Seen | None:
    """The policy leaves its reference within a few rounds, and stays away.

    Twice as far as the window before and by more than KL_GROWTH, at any time; and still so at the end.
    """
    kl = record.all("ppo/kl")
    means = [sum(kl.values[i : i + START]) / START for i in range(len(kl.values) - START + 1)]

    def far(now: float, before: float) -> bool:
        return now - before > KL_GROWTH and now > KL_FACTOR * before

    jumps = [
        (after - before, i)
        for i, (before, after) in enumerate(zip(means, means[START:], strict=False))
        if far(after, before) and far(means[-1], before)
    ]
    if not jumps:
        return None
    _, i = max(jumps)
    before, after, now = means[i], means[i + START], means[-1]
    says = f"KL went from {before:.3g} to {after:.3g} nats per response within {2 * START} rounds and is {now:.3g} now"
    return Seen((kl.steps[i], kl.steps[i + 2 * START - 1]), says, {"before": before, "after": after, "now": now})


def over_optimisation(record: Record) -> Seen | None:
    """What is maximised rises while what is wanted falls (Gao et al. 2022, arXiv 2210.10760).

    Wanted: the gold grades; without any, the held-out score while the score in training rises.
    """
    gold = [name for name in record.names("gold/") if name != "gold/min"]
    if not gold:
        return _held_out_falls(record)
    rising = "eval/score" if record.all("eval/score").steps else "eval/margin"  # ppo, dpo
    found = [seen for name in gold if (seen := _gold_falls(record, name, rising))]
    return max(found, key=lambda seen: seen.numbers["best"] - seen.numbers["now"], default=None)


def _gold_falls(record: Record, name: str, rising: str) -> Seen | None:
    """Both of the last two evaluations below the best one beyond chance, with more of what is maximised."""
    gold, proxy, n = record.all(name), record.all(rising), record.counts.get(name)
    if not n or len(gold.values) < 3 or gold.steps != proxy.steps:
        return None
    at = max(range(len(gold.values) - 2), key=lambda i: (gold.values[i], i))
    best, last = gold.values[at], gold.values[-2:]
    gain = min(proxy.values[-2:]) - proxy.values[at]
    chance = [SIGMAS * math.sqrt((best * (1 - best) + now * (1 - now)) / n) for now in last]
    fell = all(best - now > noise for now, noise in zip(last, chance, strict=True))
    if not fell or gain <= GAIN * (max(proxy.values) - min(proxy.values)):
        return None
    says = (
        f"{name} fell from {best:.3g} at step {gold.steps[at]} to {last[-1]:.3g}, while {rising} rose from "
        f"{proxy.values[at]:.3g} to {proxy.values[-1]:.3g}"
    )
    numbers = {"best": best, "now": last[-1], "score_then": proxy.values[at], "score_now": proxy.values[-1], "n": n}
    return Seen((gold.steps[at], gold.steps[-1]), says, numbers)


def _held_out_falls(record: Record) -> Seen | None:
    """The same without gold: both last held-out scores below the best beyond chance, and the rollouts' score above."""
    held, train, n = record.all("eval/score"), record.all("ppo/score"), record.counts.get("eval/win_rate")
    spread = record.last("ppo/score_sd", 1)
    if not n or spread is None or len(held.values) < 3 or len(train.values) < 2 * ROUNDS:
        return None
    at = max(range(len(held.values) - 2), key=lambda i: (held.values[i], i))
    then = [score for step, score in zip(train.steps, train.values, strict=True) if step <= held.steps[at]][-ROUNDS:]
    best, last, now = held.values[at], max(held.values[-2:]), sum(train.values[-ROUNDS:]) / ROUNDS
    noise = max(GAIN * spread.mean, SIGMAS * spread.mean * math.sqrt(2 / n))
    if not then or best - last <= noise or now - sum(then) / len(then) <= GAIN * spread.mean:
        return None
    before = sum(then) / len(then)
    says = (
        f"the held-out score fell from {best:.3g} at step {held.steps[at]} to {held.values[-1]:.3g}, while the score "
    )
    says += f"in training rose from {before:.3g} to {now:.3g}"
    numbers = {"best": best, "now": held.values[-1], "score_then": before, "score_now": now, "n": n}
    return Seen((held.steps[at], held.steps[-1]), says, numbers)


def length_hacking(record: Record) -> Seen | None:
    """Answers grow and are scored for it (Singhal et al. 2023, arXiv 2310.03716); gold grades that rise acquit."""
    first, now = record.first("ppo/length", START), record.last("ppo/length", ROUNDS)
    follows = record.last("ppo/score_length_correlation", ROUNDS)
    if first is None or now is None or follows is None or len(record.all("ppo/length").steps) < START + ROUNDS:
        return None
    if now.mean < LONGER * first.mean or follows.mean < LENGTH_CORRELATION or _gold_rises(record):
        return None
    says = f"answers grew from {first.mean:.3g} to {now.mean:.3g} tokens, and the score follows their length "
    says += f"(correlation {follows.mean:.2f})"
    numbers = {"before": first.mean, "now": now.mean, "correlation": follows.mean}
    return Seen((first.steps[0], now.steps[-1]), says, numbers)


def _gold_rises(record: Record) -> bool:
    """Whether the mean of the gold grades is above what it was at first."""
    gold = [record.all(name).values for name in record.names("gold/") if name != "gold/min"]
    return bool(gold) and sum(values[-1] for values in gold) > sum(values[0] for values in gold)


def entropy_collapse(record: Record) -> Seen | None:
    """Nearly every token is certain: the samples are all alike, so nothing better can be found any more."""
    first, now = record.first("ppo/entropy", START), record.last("ppo/entropy", ROUNDS)
    if first is None or now is None or len(record.all("ppo/entropy").steps) < START + ROUNDS:
        return None
    if first.mean <= 0 or now.mean >= COLLAPSED * first.mean:
        return None
    says = f"entropy fell from {first.mean:.3g} to {now.mean:.2g} nats per token, {now.mean / first.mean:.1%} of it"
    return Seen((first.steps[0], now.steps[-1]), says, {"before": first.mean, "now": now.mean})


def no_eos(record: Record) -> Seen | None:
    """Many answers run into max_new_tokens: the judge scores fragments, or only the penalty for them is learnt."""
    ended, n = record.last("ppo/ended", START), record.counts.get("ppo/ended")
    if ended is None or not n:
        return None
    tried = START * n
    high = wilson(round(ended.mean * tried), tried)[1]
    if high >= ENDED:
        return None
    says = f"only {ended.mean:.0%} of the answers of {START} rounds end by themselves (at most {high:.0%})"
    return Seen(ended.span, says, {"ended": ended.mean, "high": high, "n": tried})


def value_loss_stuck(record: Record) -> Seen | None:
    """The critic learns nothing: its loss is where it was and it explains nothing of the returns.

    Then advantages are returns with noise. Either alone is harmless: returns that hardly vary leave nothing to explain.
    """
    explained, loss = record.last("ppo/explained_variance", ROUNDS), record.last("train/value_loss", ROUNDS)
    first = record.first("train/value_loss", START)
    if explained is None or loss is None or first is None or len(record.all("train/value_loss").steps) < VALUE_ROUNDS:
        return None
    high = explained.mean + 2 * explained.stderr
    if high >= EXPLAINED or loss.mean < VALUE_LOSS * first.mean:
        return None
    says = f"the value loss was {first.mean:.3g} and is {loss.mean:.3g}, and the critic explains {explained.mean:.2f} "
    says += "of the variance of the returns"
    numbers = {"before": first.mean, "now": loss.mean, "explained_variance": explained.mean}
    return Seen((first.steps[0], loss.steps[-1]), says, numbers)
