"""What can ail the rows of sft, reward, dpo and ppo; counted once, before the first step (data/overlap.py)."""

from llmtrain.doctor.record import Record, Seen

EMPTY = 0.01  # of all rows; a few that are too long are in every collection
REPEATED = 0.1  # of the rows; such rows are trained on twice an epoch
LEAKED = 0.05  # of the held-out rows: what a share can rise by is then as wide as its interval


def empty_mask(record: Record) -> Seen | None:
    """Rows in which no token counts: the prompt fills data.max_length, or nothing is said by the assistant."""
    kept, empty = record.counts.get("data/rows", 0), record.counts.get("data/empty", 0)
    return _share(empty, kept + empty, EMPTY, "rows have no token that counts, and are left out", "empty")


def duplicate_rows(record: Record) -> Seen | None:
    """Training rows that say the same, but for case and spaces, as one before."""
    repeated, n = record.counts.get("data/repeated", 0), record.counts.get("data/train", 0)
    return _share(repeated, n, REPEATED, "training rows say the same as one before", "repeated")


def leaking_prompts(record: Record) -> Seen | None:
    """Held-out rows whose prompt is trained on: held-out numbers then tell what was learnt by heart.

    A split holds out whole prompts, token by token; case, spaces and widths of letters pass it.
    """
    leaked, n = record.counts.get("data/leaked", 0), record.counts.get("data/eval", 0)
    return _share(leaked, n, LEAKED, "held-out rows have a prompt that is trained on too", "leaked")


def _share(part: int, whole: int, limit: float, what: str, name: str) -> Seen | None:
    if not part or part < limit * whole:
        return None
    return Seen((0, 0), f"{part} of {whole} {what}", {name: part, "rows": whole})
