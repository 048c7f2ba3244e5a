"""What the models of a run wrote: samples/ of a training run, answers.jsonl of eval, rankings or outputs of sample."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmtrain.errors import ConfigError, RunError
from llmtrain.run import directory

FOLDER = "samples"
ANSWERS, RANKINGS, OUTPUTS = "answers.jsonl", "rankings.jsonl", "outputs.jsonl"


@dataclass(frozen=True)
class Said:
    """An answer, and what stands beside it in its row: score, grade, rank ..., by name."""

    text: str
    ended: bool
    marks: dict[str, float | str]


@dataclass
class Asked:
    """A prompt and its answers: by step, by model, or in order of rank ("#1", "#2" ...)."""

    prompt: str
    note: str  # who ranked, or which H
    answers: dict[str, Said] = field(default_factory=dict)


@dataclass
class Read:
    """All that was read. `aligned`: the columns mean the same in each row, so that they can stand side by side."""

    asked: list[Asked]
    columns: list[str]
    aligned: bool
    damaged: Counter[str]  # lines that hold no answer, by file


def steps(run: Path) -> dict[int, Path]:
    """The sample files of a training run by step, ascending."""
    files = {file.stem.removeprefix("step-"): file for file in (run / FOLDER).glob("step-*.jsonl")}
    return dict(sorted((int(step), file) for step, file in files.items() if step.isdecimal()))


def read(run: Path, step: int | None = None, every: bool = False) -> Read:
    """The answers in `run`: those of one step, of every step, or of the first, the middle and the newest.

    Raises RunError where there are none, ConfigError for a step that is not there or means nothing here.
    """
    if step is not None and every:
        raise ConfigError("--step and --all: one of the two")
    there = steps(run)
    if there:
        return _over_steps(_chosen(run, there, step, every))
    for name, rows in ((ANSWERS, _of_models), (RANKINGS, _ranked), (OUTPUTS, _written)):
        if (run / name).is_file():
            if step is not None or every:
                raise ConfigError(f"--step and --all: {run / name} has no steps; leave them out")
            return _rows(run / name, rows)
    raise RunError(_nothing(run))


def _chosen(run: Path, there: Mapping[int, Path], step: int | None, every: bool) -> dict[int, Path]:
    numbers = list(there)
    if step is not None and step not in there:
        raise ConfigError(f"--step={step}: {run} has samples of steps {', '.join(map(str, numbers))}")
    few = dict.fromkeys((numbers[0], numbers[len(numbers) // 2], numbers[-1]))
    wanted = [step] if step is not None else numbers if every else few
    return {number: there[number] for number in wanted}


def _over_steps(files: Mapping[int, Path]) -> Read:
    """The same prompt in several files is one row; one that a file holds twice is two."""
    asked: dict[tuple[str, int], Asked] = {}
    damaged: Counter[str] = Counter()
    for step, file in files.items():
        seen: Counter[str] = Counter()
        for row in _lines(file, damaged, _sample):
            seen[row.prompt] += 1
            kept = asked.setdefault((row.prompt, seen[row.prompt]), Asked(row.prompt, row.note))
            kept.answers[f"step {step}"] = row.answers[""]
    return Read(list(asked.values()), [f"step {step}" for step in files], True, damaged)


def _rows(file: Path, shape: Callable[[dict[str, Any]], Asked]) -> Read:
    damaged: Counter[str] = Counter()
    asked = list(_lines(file, damaged, shape))
    columns = list(dict.fromkeys(name for row in asked for name in row.answers))
    return Read(asked, columns, shape is _of_models, damaged)


def _lines(file: Path, damaged: Counter[str], shape: Callable[[dict[str, Any]], Asked]) -> Iterator[Asked]:
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise RunError(f"{file}: cannot be read ({error.strerror})") from error
    for line in lines:
        try:
            yield shape(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # half a line, or another's
            damaged[file.name] += 1


def _sample(row: dict[str, Any]) -> Asked:
    answer = row["answer"] if "answer" in row else row["text"]  # pretrain goes on with a text
    return Asked(_prompt(row["prompt"]), str(row.get("h", "")), {"": _said({**row, "text": answer})})


def _of_models(row: dict[str, Any]) -> Asked:
    answers = {str(label): _said(said) for label, said in row["answers"].items()}
    return Asked(_prompt(row["prompt"]), str(row.get("h", "")), answers)


def _ranked(row: dict[str, Any]) -> Asked:
    pairs = sorted(zip(row["ranks"], row["responses"], strict=True), key=lambda pair: float(pair[0]))
    said = [_said({"text": text, "rank": f"{float(rank):g}"}) for rank, text in pairs]
    note = f"ranked by {row['annotator']}" if "annotator" in row else ""
    return Asked(_prompt(row["prompt"]), note, {f"#{n}": one for n, one in enumerate(said, 1)})


def _written(row: dict[str, Any]) -> Asked:
    answers = {f"#{n}": _said(said) for n, said in enumerate(row["answers"], 1)}
    return Asked(_prompt(row["prompt"]), "", answers)


def _said(said: dict[str, Any]) -> Said:
    if not isinstance(said["text"], str):
        raise TypeError("text")
    marks: dict[str, float | str] = {}
    for name in ("rank", "score", "level", "source"):
        value = said.get(name)
        if isinstance(value, int | float | str):
            marks[name] = value
    return Said(said["text"], bool(said.get("ended", True)), marks)


def _prompt(prompt: Any) -> str:
    """A text, or messages; the role is told where there is more than one."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return str(prompt[0]["content"])
    return "\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def _nothing(run: Path) -> str:
    """Why there is nothing to show."""
    inside = [stage.name for stage in sorted(run.iterdir()) if (stage / directory.CONFIG).is_file()]
    if inside:
        return f"{run} is a pipeline: name one of its stages, {', '.join(inside)}"
    command = directory.read_config(run).get("command")
    if command == "reward":
        return f"{run}: a reward model writes no text; its report card is in result.json"
    when = "when it ends" if command in ("eval", "sample") else "at each evaluation, every loop.eval_every steps"
    return f"{run}: no samples yet; {command} writes them {when}"
