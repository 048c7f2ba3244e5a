"""What the stages read: the embedded microworld, files, or the output of an earlier run."""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from llmtrain.config.choices import DataName
from llmtrain.config.schema import Common, Data
from llmtrain.data import overlap
from llmtrain.data.cache import Table, tokenised
from llmtrain.data.formats import Record
from llmtrain.data.microworld import rows as microworld
from llmtrain.data.microworld.world import World
from llmtrain.data.records import Chat, Kind, Prompt, Ranking, Text
from llmtrain.data.remember import remembered
from llmtrain.data.sources import Source, gather, later, read
from llmtrain.data.split import Split, train_eval
from llmtrain.errors import DataError
from llmtrain.run.seeding import derive
from llmtrain.stages.preflight import RANKINGS as RANKINGS
from llmtrain.stages.preflight import where

log = logging.getLogger("llmtrain")

CLEAN_RANKINGS = "clean-rankings.jsonl"  # of held-out prompts, without label noise: to examine a judge


@dataclass(frozen=True)
class Rows:
    """A tokenised source and which of its rows are held out."""

    source: Source
    table: Table
    split: Split
    counts: dict[str, int]  # for the doctor


def opened(config: Common, data: Data, kind: Kind, tokenizer: PreTrainedTokenizerBase) -> Rows:
    """Read, check, tokenise (or take from the cache) and split the rows of a stage. Raises DataError."""
    source = records(config, data, kind)
    return split(source, table(data, source, kind, tokenizer), data, kind)


def table(data: Data, source: Source, kind: Kind, tokenizer: PreTrainedTokenizerBase) -> Table:
    """The source as tokens, from the cache if it is there."""
    return tokenised(source, kind, tokenizer, data.max_length, data.cache)


def split(source: Source, rows: Table, data: Data, kind: Kind) -> Rows:
    """Hold out data.eval_fraction by prompt or document; which ones does not depend on the run's seed."""
    parts = train_eval(rows, kind, data.eval_fraction, seed=0)
    if not len(parts.eval):
        raise DataError(
            f"data.eval_fraction={data.eval_fraction:g} holds nothing of {source.description} out, and every stage "
            "measures itself on held-out rows; set it above 0"
        )
    log.info("data: %s; %s", source.description, parts.description)
    return Rows(source, rows, parts, overlap.of_rows(source, rows, parts, kind))


def records(config: Common, data: Data, kind: Kind) -> Source:
    """The records of `data`, whatever it names."""
    if data.name is DataName.microworld:
        return _microworld(data, kind, config.seed)
    paths = [where(path, config.run.root, config.run.name) for path in data.path]
    return read(
        paths,
        kind,
        split=data.split,
        text_column=data.text_column,
        on_bad_row=data.on_bad_row.value,
        limit=data.rows,
    )


def texts(source: Source) -> Iterator[str]:
    """All that the records say, to train a tokenizer on."""
    for record in source.records:
        match record:
            case Text(text):
                yield text
            case Chat(messages) | Prompt(messages):
                yield from (message.content for message in messages)
            case Ranking(prompt, responses):
                yield from (message.content for message in prompt)
                yield from responses


def clean_rankings(config: Common, data: Data, tokenizer: PreTrainedTokenizerBase) -> Table | None:
    """Noise-free rankings of held-out prompts beside the rankings of `sample` runs; None where there are none."""
    beside = [Path(where(path, config.run.root, config.run.name)).with_name(CLEAN_RANKINGS) for path in data.path]
    found = [str(path) for path in beside if path.is_file()]
    if not found:
        return None
    return table(data, read(found, Kind.ranking), Kind.ranking, tokenizer)


def _microworld(data: Data, kind: Kind, seed: int) -> Source:
    if data.rows is None or data.world is None:
        raise DataError("data.rows or data.world is not set; the microworld makes what you ask for: data.rows=5000")
    world, rows = World(data.world), data.rows
    if kind is Kind.ranking:
        raise DataError("the microworld holds no rankings: make them with `llmtrain sample`, then give data=latest")
    make: dict[Kind, Callable[[], Sequence[Record]]] = {
        Kind.text: lambda: microworld.documents(world, rows, seed),
        Kind.chat: lambda: microworld.demonstrations(world, rows, seed),
        Kind.prompt: lambda: microworld.prompts(world, "train", rows, derive(seed, "prompts")),
    }
    description = f"microworld {data.world}, {rows} rows of seed {seed}"
    if kind is not Kind.text:
        return gather(make[kind](), description)
    made: list[Source] = []  # a corpus takes seconds to write; once tokenised its digest is all that is asked for

    def digest() -> str:
        made.append(gather(make[kind](), description))
        return made[0].digest

    parts = [data.world, rows, seed, microworld.digest(), sys.version_info[:2]]  # Python's own draws among them
    known = remembered(data.cache, "microworld", parts, digest)
    return made[0] if made else later(make[kind], rows, known, description)


def prompts(config: Common, data: Data, tokenizer: PreTrainedTokenizerBase) -> tuple["Prompts", "Prompts"]:
    """Prompts to train on, and held-out ones: the microworld's validation split, or the files' own split."""
    if data.name is DataName.microworld:
        train = tokenised_prompts(records(config, data, Kind.prompt), tokenizer, data)
        return train, held_out(data, "validation", data.eval_rows, tokenizer)
    rows = opened(config, data, Kind.prompt, tokenizer)
    everything = _listed(rows.source, rows.table)
    return everything.take(rows.split.train), everything.take(rows.split.eval[: data.eval_rows])


def graded(data: Data, tokenizer: PreTrainedTokenizerBase) -> "Prompts | None":
    """Held-out prompts with gold graders for rankings that came from the world `data.world`; None without a world."""
    return None if data.world is None else held_out(data, "validation", data.eval_rows, tokenizer)


def held_out(data: Data, part: str, rows: int, tokenizer: PreTrainedTokenizerBase) -> "Prompts":
    """Held-out prompts of the microworld with their graders; part: validation (tuning) or test (the final table)."""
    assert data.world is not None
    made = microworld.prompts(World(data.world), part, rows, 0)
    return tokenised_prompts(gather(made, f"microworld {data.world}, {part} prompts"), tokenizer, data)


def tokenised_prompts(source: Source, tokenizer: PreTrainedTokenizerBase, data: Data) -> "Prompts":
    return _listed(source, tokenised(source, Kind.prompt, tokenizer, data.max_length, data.cache))


def _listed(source: Source, table: Table) -> "Prompts":
    kept = [record for record in source.records if isinstance(record, Prompt)]
    return Prompts(
        [kept[int(table.column("row")[i][0])] for i in range(len(table))],
        [table.column("ids")[i].tolist() for i in range(len(table))],
        source.digest,
    )


@dataclass(frozen=True)
class Prompts:
    """Prompts and their token ids, which end with the header of the answer."""

    records: list[Prompt]
    ids: list[list[int]]
    digest: str

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: Sequence[int] | np.ndarray) -> "Prompts":
        return Prompts([self.records[i] for i in indices], [self.ids[i] for i in indices], self.digest)

    @property
    def combinations(self) -> int | None:
        """Of how many combinations these are wordings, where that is known: they tell something new."""
        return len({p.meta["combination"] for p in self.records}) if self.graded else None

    @property
    def graded(self) -> bool:
        """Whether gold graders exist for these prompts."""
        return bool(self.records) and "h" in self.records[0].meta
