"""What is said twice: rows that repeat another one, held-out rows whose prompt is trained on.

Compared without regard to case, spaces and the width of letters; the split itself compares token by token.
"""

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence

from llmtrain.data.cache import Table
from llmtrain.data.encode import NOTHING_COUNTS, PROMPT_TOO_LONG
from llmtrain.data.formats import Record
from llmtrain.data.records import Chat, Kind, Message, Prompt, Ranking, Text
from llmtrain.data.sources import Source
from llmtrain.data.split import Split


def of_rows(source: Source, table: Table, split: Split, kind: Kind) -> dict[str, int]:
    """`data/...` counts of a split table; a corpus of text, which may not fit the memory, is not compared."""
    if kind is Kind.text:
        return {}
    records: Sequence[Record] = tuple(source.records)
    train, held = ([records[int(table.column("row")[i][0])] for i in rows] for rows in (split.train, split.eval))
    empty = sum(table.dropped.get(reason, 0) for reason in (NOTHING_COUNTS, PROMPT_TOO_LONG))
    found = counts(train, held) | {"data/rows": len(table)}
    return found | {"data/empty": empty} if kind is Kind.chat else found


def counts(train: Sequence[Record], held: Sequence[Record]) -> dict[str, int]:
    """Training rows and how many repeat an earlier one; held-out rows and the prompts of how many are trained on."""
    asked = {_key(_asked(record)) for record in train}
    return {
        "data/train": len(train),
        "data/eval": len(held),
        "data/repeated": len(train) - len({_key(_said(record)) for record in train}),
        "data/leaked": sum(_key(_asked(record)) in asked for record in held),
    }


def _asked(record: Record) -> Iterable[str]:
    """What stands before the answer that is learnt or ranked."""
    match record:
        case Chat(messages):
            return _texts(messages[:-1])
        case Ranking(prompt, _):
            return _texts(prompt)
        case Prompt(messages):
            return _texts(messages)
        case Text(text):
            return (text,)


def _said(record: Record) -> Iterable[str]:
    match record:
        case Chat(messages):
            return _texts(messages)
        case Ranking(prompt, responses):
            return (*_texts(prompt), *responses)
        case _:
            return _asked(record)


def _texts(messages: Sequence[Message]) -> list[str]:
    return [message.content for message in messages]


def _key(texts: Iterable[str]) -> bytes:
    said = "\0".join(" ".join(unicodedata.normalize("NFKC", text).casefold().split()) for text in texts)
    return hashlib.blake2b(said.encode(), digest_size=16).digest()
