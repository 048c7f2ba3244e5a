"""Text of data files, prompts and raters to ids.

It is always encoded with special tokens split: a "<|end|>" in a row stays text, only the chat template puts control
tokens in (reliability F16, S7).
"""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from llmtrain.errors import DataError


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], controls: bool = False) -> list[list[int]]:
    """Ids of each text, nothing added. Control tokens written in the text count only with controls=True (templates).

    DataError names a character that the vocabulary lacks.
    """
    if not texts:
        return []
    found = tokenizer(
        list(texts),
        add_special_tokens=False,
        split_special_tokens=not controls,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )["input_ids"]
    unknown = tokenizer.unk_token_id
    # GPT-2 names its end token as its unknown token too; a text never gives that one
    if unknown is not None and not controls:
        for text, ids in zip(texts, found, strict=True):
            if unknown in ids:
                raise DataError(_unknown(tokenizer, text, unknown))
    return found


def _unknown(tokenizer: PreTrainedTokenizerBase, text: str, unknown: int) -> str:
    def bad(character: str) -> bool:
        ids = tokenizer(character, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return unknown in ids

    at = next((n for n, character in enumerate(text) if bad(character)), 0)
    excerpt = ascii(text[max(0, at - 20) : at + 20])
    return (
        f"character {ascii(text[at])} (U+{ord(text[at]):04X}) is not in the tokenizer's vocabulary, in {excerpt}; "
        "use tokenizer=bpe, or train the tokenizer on text that has it"
    )


def bos(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What the tokenizer itself puts before a text: [bos] for Llama's, [] for GPT-2's and ours."""
    start = tokenizer("", add_special_tokens=True)["input_ids"][:1]
    return start if start and start[0] == tokenizer.bos_token_id else []
