"""How many rows a stage will read, without reading them all: made ones are counted, files measured by a sample."""

import math
from contextlib import suppress
from pathlib import Path
from typing import Any

from llmtrain.config.choices import DataName, TokenizerName
from llmtrain.config.schema import Training
from llmtrain.data import files, sources
from llmtrain.data.records import Chat, Kind, Prompt, Ranking, Text
from llmtrain.errors import LlmtrainError
from llmtrain.run import durable
from llmtrain.stages.preflight import where

SAMPLED = 200  # rows whose mean size stands for all
PACKED = 3.5  # how much smaller a .gz or parquet is than its text, about
BYTES_A_TOKEN = 4.0  # of a byte-level BPE, about; a character tokenizer has 1


def steps(config: Training, rows: float | None) -> int | None:
    """max_steps, or epochs over so many rows; None where they are not known."""
    if config.max_steps is not None:
        return config.max_steps
    assert config.epochs is not None  # config/check.py: one of the two is set
    if rows is None:
        return None
    return max(1, math.ceil(config.epochs * math.ceil(rows * (1 - config.data.eval_fraction) / config.batch.rows)))


def rows(config: Any, kind: Kind) -> float | None:
    """Rows of config.data, None where nothing tells."""
    data = config.data
    if data.name is DataName.microworld:
        return data.rows
    size, mean = _bytes(config), _mean(config, kind)
    found = size / mean if size and mean else None
    return data.rows if found is None or (data.rows and data.rows < found) else found


def pieces(config: Any) -> float | None:
    """Rows of data.max_length tokens that pretrain cuts from its texts."""
    made = config.data.name is DataName.microworld
    size = _mean_of_world(config) if made else _bytes(config)
    each = 1.0 if config.tokenizer.name is TokenizerName.char else BYTES_A_TOKEN
    return size / each / config.data.max_length if size else None


def answers(config: Any) -> int:
    """K of the first ranking of config.data; 2 where there is none yet."""
    first = _sample(config, Kind.ranking, 1)
    return len(first[0].responses) if first else 2


def share(config: Any) -> float | None:
    """The part that a prompt has of its text and one answer's, in the first rankings of config.data."""
    asked = answered = 0.0
    for row in _sample(config, Kind.ranking, SAMPLED):
        asked += sum(len(m.content) for m in row.prompt)
        answered += sum(map(len, row.responses)) / len(row.responses)
    return asked / (asked + answered) if asked else None


def share_of_world(config: Any) -> float | None:
    """The same of the microworld's prompts and their known answers; None of other data."""
    if config.data.name is not DataName.microworld:
        return None
    from llmtrain.data.microworld import rows as microworld
    from llmtrain.data.microworld.world import World

    made = microworld.demonstrations(World(config.data.world or 0), SAMPLED, config.seed)
    asked, answered = (sum(len(chat.messages[turn].content) for chat in made) for turn in (0, 1))
    return asked / (asked + answered)


def _mean_of_world(config: Any) -> float | None:
    from llmtrain.data.microworld import rows as microworld
    from llmtrain.data.microworld.world import World

    made = microworld.documents(World(config.data.world or 0), SAMPLED, config.seed)
    return sum(len(text.text) for text in made) / len(made) * config.data.rows


def _there(config: Any) -> list[str]:
    """What of config.data.path is there, the rankings of runs among it."""
    found = []
    for path in config.data.path:
        with suppress(LlmtrainError):  # the stage itself will say so
            found.append(where(path, config.run.root, config.run.name))
    return [path for path in found if durable.exists(Path(path).expanduser())]


def _bytes(config: Any) -> float:
    found = [file for path in _there(config) for file in files.expand(path)]
    return sum(
        file.stat().st_size * (PACKED if file.suffix in (".gz", ".parquet") else 1.0) for file in map(Path, found)
    )


def _mean(config: Any, kind: Kind) -> float | None:
    sampled = _sample(config, kind, SAMPLED)
    return sum(map(_size, sampled)) / len(sampled) if sampled else None


def _sample(config: Any, kind: Kind, count: int) -> list[Any]:
    column = config.data.text_column
    try:
        source = sources.read(_there(config), kind, text_column=column, on_bad_row="skip", limit=count)
    except LlmtrainError:  # nothing there, or nothing usable: the stage itself will say so
        return []
    return list(source.records)


def _size(record: Any) -> float:
    """Bytes of a row, with what JSON or CSV puts around it, about."""
    match record:
        case Text(text):
            return len(text.encode()) + 12
        case Chat(messages) | Prompt(messages):
            return sum(len(m.content.encode()) + 30 for m in messages)
        case Ranking(prompt, responses):
            return sum(len(m.content.encode()) + 30 for m in prompt) + sum(len(r.encode()) + 10 for r in responses)
    raise TypeError(type(record).__name__)
