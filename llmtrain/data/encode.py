"""Records to token columns, and which rows cannot be used.

Columns by kind; every kind also has `row`, the index of its record in the source:
    text      ids (closed by EOS), bytes (UTF-8 bytes of the text)
    chat      ids, mask (True: the assistant has to produce it), cut behind the last token that counts
    ranking   prompt, responses (all K one after the other, each closed by EOS), response_lengths [K], ranks [K]
    prompt    ids (ends with the header of the answer)
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from transformers import PreTrainedTokenizerBase

from llmtrain.data.formats import Record
from llmtrain.data.records import Chat, Kind, Prompt, Ranking, Text
from llmtrain.errors import InitError
from llmtrain.text.plain import bos, encode
from llmtrain.text.render import pieces
from llmtrain.text.template import encode_answers, encode_pieces, encode_prompts

Row = dict[str, list]
Batches = Iterator[list]
Encoder = Callable[[Batches, PreTrainedTokenizerBase, int], Iterator[Row | str]]  # a string: why the row is dropped

DTYPES = {
    "ids": "int32",
    "mask": "bool",
    "bytes": "int64",
    "prompt": "int32",
    "responses": "int32",
    "response_lengths": "int32",
    "ranks": "float64",
    "row": "int64",
}
COLUMNS = {
    Kind.text: ("ids", "bytes", "row"),
    Kind.chat: ("ids", "mask", "row"),
    Kind.ranking: ("prompt", "responses", "response_lengths", "ranks", "row"),
    Kind.prompt: ("ids", "row"),
}
BATCH = 64  # records per call of the tokenizer, which encodes a call's texts in parallel
CHARACTERS = 2**19  # and of these at most so many: a bound on its memory

PROMPT_TOO_LONG = "the prompt fills max_length"
NOTHING_COUNTS = "no token counts"
RESPONSE_TOO_LONG = "prompt and a response exceed max_length"
CUT = "cut at max_length"
OPEN = "open"  # the next row goes on with this one


def rows(
    records: Iterable[Record], kind: Kind, tokenizer: PreTrainedTokenizerBase, max_length: int, notes: Counter[str]
) -> Iterator[Row]:
    """One row of columns per usable record; of a text in parts a row for each, "open" but for the last.

    max_length: tokens of prompt and answer together (chat, ranking) or of the prompt (prompt); text is never cut.
    notes: counts dropped rows by reason, and those kept but cut (CUT).
    """
    if tokenizer.eos_token_id is None:
        raise InitError("the tokenizer has no eos_token; nothing would tell the model where an answer ends")
    encoders: dict[Kind, Encoder] = {
        Kind.text: _texts,
        Kind.chat: _chats,
        Kind.ranking: _rankings,
        Kind.prompt: _prompts,
    }
    index = 0
    for row in encoders[kind](batches(records), tokenizer, max_length):
        if isinstance(row, str):
            notes[row] += 1
        else:
            if any(row.pop("cut", ())):
                notes[CUT] += 1
            if row.get(OPEN):
                yield {**row, "row": []}
                continue
            yield {**row, "row": [index]}
        index += 1


def batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Runs of at most BATCH records and CHARACTERS characters (a longer single record stands alone)."""
    batch: list[Record] = []
    used = 0
    for record in records:
        size = _characters(record)
        if batch and (len(batch) == BATCH or used + size > CHARACTERS):
            yield batch
            batch, used = [], 0
        batch.append(record)
        used += size
    if batch:
        yield batch


def _characters(record: Record) -> int:
    match record:
        case Text(text):
            return len(text)
        case Ranking(prompt, responses):
            return sum(len(m.content) for m in prompt) + sum(map(len, responses))
        case Chat(messages) | Prompt(messages):
            return sum(len(m.content) for m in messages)


def _texts(stream: Batches, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Iterator[Row | str]:
    start, end = bos(tokenizer), [tokenizer.eos_token_id]
    begins, size = True, 0
    for batch in stream:
        for record, ids in zip(batch, encode(tokenizer, [r.text for r in batch]), strict=True):
            size += len(record.text.encode())
            ids = start + ids if begins else ids
            yield {"ids": ids, "bytes": [], OPEN: [True]} if record.more else {"ids": ids + end, "bytes": [size]}
            begins, size = not record.more, size if record.more else 0


def _chats(stream: Batches, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Iterator[Row | str]:
    """Too long: the start is kept and the answer loses its end and its EOS (A4, A7)."""
    for ids, mask in (p for b in stream for p in encode_pieces(tokenizer, [pieces(tokenizer, r.messages) for r in b])):
        cut = len(ids) > max_length
        mask = mask[:max_length]
        if True not in mask[1:]:
            yield PROMPT_TOO_LONG if cut else NOTHING_COUNTS
            continue
        stop = len(mask) - mask[::-1].index(True)
        yield {"ids": ids[:stop], "mask": mask[:stop], "cut": [cut]}


def _rankings(stream: Batches, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Iterator[Row | str]:
    """All responses of a record follow the same prompt ids; a record that does not fit is left out whole (D4)."""
    for record, prompt, responses in (row for batch in stream for row in _ranked(batch, tokenizer)):
        if len(prompt) >= max_length:
            yield PROMPT_TOO_LONG
        elif len(prompt) + max(map(len, responses)) > max_length:
            yield RESPONSE_TOO_LONG
        else:
            lengths = [len(r) for r in responses]
            flat = [token for response in responses for token in response]
            yield {"prompt": prompt, "responses": flat, "response_lengths": lengths, "ranks": list(record.ranks)}


def _ranked(
    batch: list[Ranking], tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[Ranking, list[int], list[list[int]]]]:
    """(record, ids of its prompt, ids of each response)."""
    prompts = encode_prompts(tokenizer, [r.prompt for r in batch])
    answers = iter(encode_answers(tokenizer, [text for r in batch for text in r.responses]))
    for record, prompt in zip(batch, prompts, strict=True):
        yield record, prompt, [next(answers) for _ in record.responses]


def _prompts(stream: Batches, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Iterator[Row | str]:
    for ids in (ids for batch in stream for ids in encode_prompts(tokenizer, [r.messages for r in batch])):
        yield {"ids": ids} if len(ids) <= max_length else PROMPT_TOO_LONG
