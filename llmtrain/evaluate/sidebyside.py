"""Models side by side: one table with a row each, and their answers to the same prompts."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table

from llmtrain.data.microworld.rows import grade
from llmtrain.data.records import Prompt
from llmtrain.evaluate.hhh import H
from llmtrain.loop.learner import Evaluation, Rate

Texts = Sequence[tuple[str, bool]]  # (text, whether it ended)
# Metric, head of its column (one line would be too wide for 80 characters), digits behind the point.
COLUMNS = (
    ("eval/perplexity", "perple-\nxity", 2),
    ("eval/bits_per_byte", "bits/\nbyte", 3),
    ("gold/helpful", "help-\nful", 2),
    ("gold/honest", "hon-\nest", 2),
    ("gold/harmless", "harm-\nless", 2),
    ("eval/win_rate", "wins\n[95 %]", 2),
    ("eval/kl", "KL,\nnats", 2),
    ("eval/length", "len-\ngth", 1),
)


def table(models: Mapping[str, Evaluation], reference: str | None) -> Table:
    """One row a model, one column a number that some model has.

    reference: whose answers the others win against. Intervals of the grades are in the table of hhh.py.
    """
    shown = [column for column in COLUMNS if any(column[0] in values for values in models.values())]
    heads = {name for name, _, _ in shown}
    notes = {
        "eval/perplexity": "perplexity: per token of the own tokenizer",
        "eval/length": "length: tokens of an answer",
        "eval/win_rate": f"wins: share of answers better than those of {reference}",
        "eval/kl": f"KL: from {reference}, per sampled answer",
    }
    told = "\n".join(note for name, note in notes.items() if name in heads)
    view = Table(box=box.SIMPLE_HEAD, caption=told, caption_justify="left", padding=(0, 1, 0, 0))
    view.add_column("model", overflow="fold")
    for _, head, _ in shown:
        view.add_column(head, justify="right", no_wrap=True)
    for label, values in models.items():
        view.add_row(label, *(_cell(values.get(name), digits, name) for name, _, digits in shown))
    return view


def _cell(value: float | Rate | None, digits: int, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, Rate):
        return f"{value:.{digits}f}" if value < 1e4 else f"{value:.0e}"
    if name != "eval/win_rate":
        return f"{value.value:.{digits}f}"
    low, high = value.interval(0.95)
    return f"{value.value:.2f} [{low:.2f}, {high:.2f}]"


def tasks(models: Mapping[str, Evaluation]) -> Table:
    """What the harness found: a row a task and metric, a column a model."""
    view = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    view.add_column("task")
    for label in models:
        view.add_column(label, justify="right")
    names = dict.fromkeys(name for values in models.values() for name in values if name.startswith("task/"))
    for name in (name for name in names if not name.endswith("_stderr")):
        view.add_row(name.removeprefix("task/"), *(_with_error(values, name) for values in models.values()))
    return view


def _with_error(values: Evaluation, name: str) -> str:
    value, error = values.get(name), values.get(f"{name}_stderr")
    return f"{value:.3f}" + (f" ± {error:.3f}" if error is not None else "") if value is not None else ""


def rows(prompts: Sequence[Prompt], answers: Mapping[str, Texts], scores: Mapping[str, Sequence[float]]) -> list[dict]:
    """A row a prompt with every model's answer: its text, whether it ended, its score and gold level where there are.

    answers, scores: by label, in the order of the prompts.
    """
    out = []
    for n, prompt in enumerate(prompts):
        row: dict = {"prompt": prompt.messages[-1].content, "answers": {}}
        if "h" in prompt.meta:
            row["h"] = prompt.meta["h"]
        for label, texts in answers.items():
            text, ended = texts[n]
            said = {"text": text, "ended": ended}
            said |= {"score": round(scores[label][n], 4)} if label in scores else {}
            row["answers"][label] = said | ({"level": grade(prompt, text, ended)} if "h" in prompt.meta else {})
        out.append(row)
    return out


def markdown(answered: Sequence[dict], shown: int) -> str:
    """The first `shown` rows (of each H, where there are) as a table for people to read."""
    lines = ["# The same held-out prompts, answered side by side", ""]
    for h in [h for h in (*H, None) if any(row.get("h") == h for row in answered)]:
        own = [row for row in answered if row.get("h") == h][:shown]
        labels = list(own[0]["answers"])
        lines += [f"## {h}", ""] if h else []
        lines += ["| prompt | " + " | ".join(labels) + " |", "|---" * (len(labels) + 1) + "|"]
        for row in own:
            cells = [row["prompt"], *(_said(row["answers"][label]) for label in labels)]
            lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _said(answer: dict) -> str:
    """The text, dots where it was cut off, and the judge's score behind it."""
    text = answer["text"] + ("" if answer["ended"] else " [...]")
    return f"{text} ({answer['score']:.2f})" if "score" in answer else text
