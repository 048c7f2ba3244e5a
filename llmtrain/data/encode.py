"""Records to token columns, and which rows cannot be used.

Columns by kind; every kind also has `row`, the index of its record in the source:
    text      ids (closed by EOS), bytes (UTF-8 bytes of the text)
    chat      ids, mask (True: the assistant has to produce it), cut behind the last token that counts
    ranking   prompt, responses (all K one after the other, each closed by EOS), response_lengths [K], ranks [K]
    prompt    ids (ends with the header of the answer)
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from transformers import PreTrainedTokenizerBase

from llmtrain.data.formats import Record
from llmtrain.data.records import Chat, Kind, Prompt, Ranking, Text
from llmtrain.errors import InitError
from llmtrain.text.plain import bos, encode
from llmtrain.text.render import pieces
from llmtrain.text.template import encode_answers, encode_pieces, encode_prompts

Row = dict[str, list]
Encoder = Callable[[list, PreTrainedTokenizerBase, int], Iterator[Row | str]]  # a string: why the row is dropped

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

PROMPT_TOO_LONG = "the prompt fills max_length"
NOTHING_COUNTS = "no token counts"
RESPONSE_TOO_LONG = "prompt and a response exceed max_length"
CUT = "cut at max_length"


def rows(
    records: Iterable[Record], kind: Kind, tokenizer: PreTrainedTokenizerBase, max_length: int, notes: Counter[str]
) -> Iterator[Row]:
    """One row of columns per usable record.

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
    encode_batch = encoders[kind]
    stream, index = iter(records), 0
    while batch := list(islice(stream, BATCH)):
        for row in encode_batch(batch, tokenizer, max_length):
            if isinstance(row, str):
                notes[row] += 1
            else:
                if any(row.pop("cut", ())):
                    notes[CUT] += 1
                yield {**row, "row": [index]}
            index += 1


def _texts(batch: list[Text], tokenizer: PreTrainedTokenizerBase, max_length: int) -> Iterator[Row | str]:
    start, end = bos(tokenizer), [tokenizer.eos_token_id]
    for record, ids in zip(batch, encode(tokenizer, [r.text for r in batch]), strict=True):
        yield {"ids": start + ids + end, "bytes": [len(record.text.encode())]}


def _chats(batch: list[Chat], tokenizer: PreTrainedTokenizerBase, max_length: int) -> Iterator[Row | str]:
    """Too long: the start is kept and the answer loses its end and its EOS (A4, A7)."""
    for ids, mask in encode_pieces(tokenizer, [pieces(tokenizer, r.messages) for r in batch]):
        cut = len(ids) > max_length
        mask = mask[:max_length]
        if True not in mask[1:]:
            yield PROMPT_TOO_LONG if cut else NOTHING_COUNTS
            continue
        stop = len(mask) - mask[::-1].index(True)
        yield {"ids": ids[:stop], "mask": mask[:stop], "cut": [cut]}


def _rankings(batch: list[Ranking], tokenizer: PreTrainedTokenizerBase, max_length: int) -> Iterator[Row | str]:
    """All responses of a record follow the same prompt ids; a record that does not fit is left out whole (D4)."""
    prompts = encode_prompts(tokenizer, [r.prompt for r in batch])
    answers = iter(encode_answers(tokenizer, [text for r in batch for text in r.responses]))
    for record, prompt in zip(batch, prompts, strict=True):
        responses = [next(answers) for _ in record.responses]
        if len(prompt) >= max_length:
            yield PROMPT_TOO_LONG
        elif len(prompt) + max(map(len, responses)) > max_length:
            yield RESPONSE_TOO_LONG
        else:
            lengths = [len(r) for r in responses]
            flat = [token for response in responses for token in response]
            yield {"prompt": prompt, "responses": flat, "response_lengths": lengths, "ranks": list(record.ranks)}


def _prompts(batch: list[Prompt], tokenizer: PreTrainedTokenizerBase, max_length: int) -> Iterator[Row | str]:
    for ids in encode_prompts(tokenizer, [r.messages for r in batch]):
        yield {"ids": ids} if len(ids) <= max_length else PROMPT_TOO_LONG
