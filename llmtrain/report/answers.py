"""What the models said: the same held-out prompts answered by every stage, cut to what a page can hold."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmtrain.report.collect import H, Run, mapping, number

READ = 32 * 2**20  # bytes of a file of answers that are looked at
PASS = 3  # the level of data/microworld/grade.py that counts
FOLDED = 8  # further prompts of each H behind a click
CUT = "[… {} more characters]"


@dataclass(frozen=True)
class Answer:
    """mark: how it was graded or scored, "" where it was not; good: whether it passed, None without a grade."""

    text: str
    mark: str = ""
    good: bool | None = None


@dataclass(frozen=True)
class Row:
    """A prompt and the answer of each model, None where it has none."""

    prompt: str
    answers: list[Answer | None]


@dataclass(frozen=True)
class Block:
    """The prompts of one H ("" without): those that are shown, and those behind a click."""

    h: str
    labels: list[str]
    shown: list[Row]
    folded: list[Row]


def blocks(run: Run, shown: int, characters: int) -> list[Block]:
    """The answers of a pipeline's evaluations, of an eval, or of the first and the last evaluation of a training run.

    shown: prompts of each H; characters: of each text, what is beyond them is cut.
    """
    prompts: dict[tuple[str, str], dict[str, Answer]] = {}
    labels: dict[str, None] = {}
    for name, file in _files(run):
        for row in _rows(file):
            prompt = _cut(row["prompt"], characters)
            own = prompts.setdefault((str(row.get("h") or ""), prompt), {})
            for label, answer in _answers(row, name, characters):
                labels[label] = None
                own.setdefault(label, answer)
    kinds = [h for h in (*H, "") if any(key[0] == h for key in prompts)]
    return [_block(h, list(labels), prompts, shown) for h in kinds]


def _block(h: str, labels: list[str], prompts: dict[tuple[str, str], dict[str, Answer]], shown: int) -> Block:
    own = [Row(prompt, [said.get(label) for label in labels]) for (kind, prompt), said in prompts.items() if kind == h]
    complete = [row for row in own if None not in row.answers] or own
    return Block(h, labels, complete[:shown], complete[shown : shown + FOLDED])


def _files(run: Run) -> Iterator[tuple[str, Path]]:
    """Files of answers with the name of their model; "" where the rows name it."""
    if run.command == "pipeline":
        for stage in run.stages:
            if stage.command == "eval":
                yield stage.label.removeprefix("eval-"), stage.path / "answers.jsonl"
    elif run.command == "eval":
        yield "", run.path / "answers.jsonl"
    else:
        steps = sorted((run.path / "samples").glob("step-*.jsonl"))
        for file in dict.fromkeys((*steps[:1], *steps[-1:])):
            yield f"step {int(file.stem[5:])}" if file.stem[5:].isdecimal() else file.stem, file


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    try:
        with file.open("rb") as lines:
            left = READ
            for line in lines:
                left -= len(line)
                if left < 0:
                    return
                row = _parsed(line)
                if isinstance(row.get("prompt"), str):
                    yield row
    except OSError:
        return


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        return mapping(json.loads(line))
    except (ValueError, RecursionError):
        return {}


def _answers(row: dict[str, Any], name: str, characters: int) -> Iterator[tuple[str, Answer]]:
    """Of an eval {"answers": {label: {"text", ..}}}; of a training run {"answer" or "text"}."""
    told = mapping(row.get("answers")) or {name: {**row, "text": row.get("answer", row.get("text"))}}
    for label, said in told.items():
        own = mapping(said)
        text = own.get("text")
        if isinstance(text, str):
            ended = "" if own.get("ended", True) else " […]"
            level, score = number(own.get("level")), number(own.get("score"))
            good = None if level is None else level >= PASS
            mark = ("fails", "passes")[good] if good is not None else f"score {score:.2f}" if score is not None else ""
            yield name or str(label), Answer(_cut(text, characters) + ended, mark, good)


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[:characters] + " " + CUT.format(f"{len(text) - characters:,}")
