"""What was said so far, to several models at once: each goes on from its own answers."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmtrain.chat.panel import Answer, Panel
from llmtrain.data import validate
from llmtrain.data.records import Message
from llmtrain.data.validate import BadRow
from llmtrain.errors import DataError

LONGEST = 16_000  # characters of a prompt: with a history beside it, it fits into the body of a request


def spoken(text: object, name: str) -> str:
    """A text that can be said to a model. Raises DataError."""
    try:
        found = validate.text(text, name)
    except BadRow as error:
        raise DataError(f"{error}; write something else") from None
    if len(found) > LONGEST:
        raise DataError(f"'{name}' has {len(found)} characters, and at most {LONGEST} are taken; shorten it")
    return found


@dataclass(frozen=True)
class Round:
    """A question and the answers to it by label; fault holds why there is none."""

    prompt: str
    answers: dict[str, Answer]
    faults: dict[str, str]

    def row(self) -> dict[str, Any]:
        """As data, for files."""
        said: dict[str, dict[str, Any]] = {label: plain(answer) for label, answer in self.answers.items()}
        return {"prompt": self.prompt, "answers": said | {k: {"error": text} for k, text in self.faults.items()}}


def plain(answer: Answer) -> dict[str, Any]:
    """An answer as data; what it has not is left out."""
    record: dict[str, Any] = {"text": answer.text, "tokens": answer.tokens, "ended": answer.ended}
    record |= {} if answer.score is None else {"score": round(answer.score, 4)}
    record |= {"stopped": True} if answer.stopped else {}
    record |= {"unscored": answer.unscored} if answer.unscored else {}
    return record | ({"dropped": answer.dropped} if answer.dropped else {})


class Conversation:
    """The rounds so far, the system prompt and the temperature."""

    def __init__(self, panel: Panel, *, system: str | None, temperature: float):
        self.panel, self.system, self.temperature = panel, system, temperature
        self.rounds: list[Round] = []
        self.asked = 0  # questions of this session, also of what was reset: each has its own draws

    def ask(self, prompt: str, tell: Callable[[str, str], None]) -> Round:
        """All models answer, one after the other; tell hears (label, piece). Raises DataError for what is no prompt."""
        prompt = spoken(prompt, "prompt")
        found = Round(prompt, {}, {})
        for label in self.panel.voices:
            try:
                found.answers[label] = self.panel.answer(
                    label,
                    self.messages(label, prompt),
                    self.temperature,
                    self.asked,
                    lambda piece, label=label: tell(label, piece),  # type: ignore[misc]
                )
            except DataError as error:
                found.faults[label] = str(error)
            if label in found.answers and found.answers[label].stopped:
                break
        self.asked += 1
        self.rounds.append(found)
        return found

    def messages(self, label: str, prompt: str) -> list[Message]:
        """The conversation as one model knows it. A round that it said nothing in is none for it."""
        said = [Message("system", self.system)] if self.system else []
        for past in self.rounds:
            if label in past.answers and past.answers[label].text.strip():
                said += [Message("user", past.prompt), Message("assistant", past.answers[label].text)]
        return [*said, Message("user", prompt)]

    def reset(self) -> None:
        """Forget what was said; system prompt and temperature stay."""
        self.rounds = []

    def record(self) -> dict[str, Any]:
        """The whole conversation as data."""
        scorer = self.panel.scorer
        head: Mapping[str, Any] = {
            "models": list(self.panel.voices),
            "judged_by": scorer.label if scorer else None,
            "system": self.system,
            "temperature": self.temperature,
        }
        return {**head, "rounds": [past.row() for past in self.rounds]}

    def save(self, name: str) -> Path:
        """Write `record` as JSON into a file that is not there yet. Raises DataError."""
        if not name or "\0" in name:
            raise DataError("no file named; write /save FILE")
        file = Path(name)
        try:
            file = file.expanduser()
            with file.open("x", encoding="utf-8") as handle:
                handle.write(json.dumps(self.record(), indent=1, ensure_ascii=False) + "\n")
        except FileExistsError:
            raise DataError(f"{file} is there already, and nothing is written over; give another name") from None
        except (OSError, RuntimeError) as error:  # RuntimeError: ~nobody
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise DataError(f"{file}: cannot be written ({reason}); give another place") from None
        return file
