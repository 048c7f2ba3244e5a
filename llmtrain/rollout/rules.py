"""Built-in rules: a number for an answer, by exact code. No torch here."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from llmtrain.data.microworld.grade import PASS, level
from llmtrain.data.records import Prompt
from llmtrain.errors import DataError

Score = Callable[[str, str, Mapping[str, Any]], float]  # (prompt, answer, row) -> score


def ask(function: Score, prompt: Prompt, answer: str) -> float:
    """The score of one answer: what is asked is the last message, the row all else that is known of the prompt."""
    messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
    return function(prompt.messages[-1].content, answer, {**prompt.meta, "messages": messages})


def exact(prompt: str, answer: str, row: Mapping[str, Any]) -> float:
    """1 when the answer is the row's own, white space around it aside. Raises DataError for a row without one."""
    if "answer" not in row:
        columns = ", ".join(key for key in row if key != "messages") or "none"
        raise DataError(
            f"judge.rule=exact needs the right answer in a column `answer` beside {prompt[:60]!r}, whose row has "
            f"{columns}; add it, or give judge.rule=match"
        )
    return float(answer.strip() == str(row["answer"]).strip())


def match(prompt: str, answer: str, row: Mapping[str, Any], *, pattern: str) -> float:
    """1 when the pattern is found in the answer."""
    return float(re.search(pattern, answer) is not None)


def gold(prompt: str, answer: str, row: Mapping[str, Any]) -> float:
    """The gold level of an answer of the microworld: 1 passes, 2/3 is half-way, 1/3 fails, 0 misses the point."""
    return level(dict(row), answer) / PASS


RULES: dict[str, Callable[..., float]] = {"exact": exact, "match": match, "gold": gold}  # config.choices.RuleName


def rule(name: str, pattern: str | None) -> Score:
    """The rule of that name; a pattern goes with `match` alone."""
    return RULES[name] if pattern is None else partial(RULES[name], pattern=pattern)
