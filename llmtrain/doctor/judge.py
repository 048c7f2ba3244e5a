"""What can ail a reward model, by its report card on held-out prompts; n counts prompts, whose pairs hang together."""

from llmtrain.doctor.record import Record, Seen
from llmtrain.objectives.intervals import fisher, wilson

CHANCE = 0.5
BARELY = 0.6  # where few prompts are held out, an interval reaches chance from well above it
TOO_SURE = 0.05  # of confidence above what the accuracy may be; healthy demo judges have up to .04 above what it is
FOLLOWS = 0.3  # correlation of score and length that is certainly exceeded; healthy demo judges have .25 at most


def judge_at_chance(record: Record) -> Seen | None:
    """Pairs are ranked as by a coin, at the second evaluation or later: at the first it may have hardly begun."""
    card = _card(record)
    if card is None:
        return None
    step, n = card
    accuracy = record.all("eval/accuracy").values[-1]
    low, high = wilson(accuracy * n, n)
    if low > CHANCE or accuracy >= BARELY or len(record.all("eval/accuracy").values) < 2:
        return None
    says = f"right on {accuracy:.2f} [{low:.2f}, {high:.2f}] of held-out pairs, a coin on .50"
    return Seen((step, step), says, {"accuracy": accuracy, "low": low, "high": high, "n": n})


def judge_overconfident(record: Record) -> Seen | None:
    """It is surer than it is right: PPO then chases differences of score that mean nothing."""
    card, sure = _card(record), record.last("eval/confidence", 1)
    if card is None or sure is None:
        return None
    step, n = card
    accuracy = record.all("eval/accuracy").values[-1]
    high = wilson(accuracy * n, n)[1]
    if sure.mean <= high + TOO_SURE:
        return None
    says = f"{sure.mean:.2f} sure of its choices on average, and right on {accuracy:.2f} of them (at most {high:.2f})"
    return Seen((step, step), says, {"confidence": sure.mean, "accuracy": accuracy, "high": high, "n": n})


def judge_length_biased(record: Record) -> Seen | None:
    """The score goes by length (Singhal et al. 2023, arXiv 2310.03716), for long answers or against them."""
    card, follows = _card(record), record.last("eval/length_correlation", 1)
    if card is None or follows is None:
        return None
    step, n = card
    low, high = fisher(follows.mean, n)
    if max(low, -high) <= FOLLOWS:
        return None
    likes = "longer" if low > 0 else "shorter"
    says = f"scores go by length, for {likes} answers (correlation {follows.mean:.2f} [{low:.2f}, {high:.2f}])"
    numbers = {"correlation": follows.mean, "low": low, "high": high, "n": n}
    alike = record.last("eval/accuracy_like_length", 1)
    if alike is not None:
        numbers["accuracy_like_length"] = alike.mean
        says += (
            f"; right on {alike.mean:.2f} of pairs of like length, {record.all('eval/accuracy').values[-1]:.2f} of all"
        )
    return Seen((step, step), says, numbers)


def _card(record: Record) -> tuple[int, int] | None:
    """(step, prompts) of the newest report card; None in runs that train no judge."""
    steps, n = record.all("eval/accuracy").steps, record.counts.get("eval/accuracy")
    return (steps[-1], n) if steps and n and record.all("eval/log_loss").steps else None
