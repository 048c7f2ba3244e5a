"""Conversations as token ids, with a mask of what the assistant has to produce. How: see render.py."""

import logging
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from llmtrain.errors import DataError, InitError
from llmtrain.text.plain import encode
from llmtrain.text.render import Piece, Said, Turn, answer_pieces, bounded, pieces

log = logging.getLogger(__name__)

TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


ROLES = ["<|system|>", "<|user|>", "<|assistant|>"]


def install(tokenizer: PreTrainedTokenizerBase) -> None:
    """Our chat template: role token, content, <|end|>, for every message alike."""
    tokenizer.chat_template = TEMPLATE


def adopt(tokenizer: PreTrainedTokenizerBase) -> None:
    """Give a base without a chat template ours, closed by its own end token; adds the role tokens it lacks."""
    tokenizer.add_special_tokens({"extra_special_tokens": ROLES}, replace_extra_special_tokens=False)
    tokenizer.chat_template = TEMPLATE.replace("<|end|>", str(tokenizer.eos_token))
    log.info("%s has no chat template; it gets llmtrain's, closed by %s", tokenizer.name_or_path, tokenizer.eos_token)


def encode_pieces(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[Piece]]
) -> list[tuple[list[int], list[bool]]]:
    """(ids, mask) of each row of pieces. The template's own texts repeat, so each is encoded once.

    DataError if the template does not close an answer with the tokenizer's end token.
    """
    contents = [piece.text for row in rows for piece in row if not piece.control]
    controls = list(dict.fromkeys(piece.text for row in rows for piece in row if piece.control))
    control_ids = dict(zip(controls, encode(tokenizer, controls, controls=True), strict=True))
    content_ids = iter(encode(tokenizer, contents))
    result = []
    for row in rows:
        ids: list[int] = []
        mask: list[bool] = []
        for piece in row:
            new = control_ids[piece.text] if piece.control else next(content_ids)
            ids += new
            mask += _closing(tokenizer, new) if piece.closes else [piece.counts] * len(new)
        result.append((ids, mask))
    return result


def _closing(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[bool]:
    if tokenizer.eos_token_id not in ids:
        raise DataError(
            f"the chat template does not close an answer with eos_token {tokenizer.eos_token!r}; "
            "set eos_token to the token that ends a turn"
        )
    count = ids.index(tokenizer.eos_token_id) + 1
    return [True] * count + [False] * (len(ids) - count)


def encode_prompts(tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Sequence[Turn]]) -> list[list[int]]:
    """Ids of each conversation up to where the assistant's answer begins."""
    rows = encode_pieces(tokenizer, [pieces(tokenizer, messages, prompt=True) for messages in conversations])
    return [ids for ids, _ in rows]


def encode_answers(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each answer as it follows its prompt, the closing end token included."""
    rows = encode_pieces(tokenizer, [answer_pieces(tokenizer, text) for text in texts])
    return [[token for token, counts in zip(ids, mask, strict=True) if counts] for ids, mask in rows]


def encode_chat(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Turn]) -> tuple[list[int], list[bool]]:
    """(ids, mask): mask True on every assistant content and on the end token that closes it."""
    return encode_pieces(tokenizer, [pieces(tokenizer, messages)])[0]


def encode_prompt(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Turn]) -> list[int]:
    """Ids of a conversation up to where the assistant's answer begins."""
    return encode_prompts(tokenizer, [messages])[0]


def encode_answer(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of an answer behind `encode_prompt`, its closing end token included."""
    return encode_answers(tokenizer, [text])[0]


PROBE = [Said("user", "Is it so?"), Said("assistant", "It is."), Said("user", "Why?"), Said("assistant", "Because.")]


def check_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """InitError without a chat template, or with one that cannot be trained on (correctness A5).

    A warning when the ids differ from those of apply_chat_template, which other programs use to talk to the model.
    """
    place = tokenizer.name_or_path or "the tokenizer"
    if tokenizer.chat_template is None:
        raise InitError(f"{place}: no chat template; run llmtrain sft from it first, or give a model that has one")
    plain = [{"role": m.role, "content": m.content} for m in PROBE]
    try:
        ids, mask = encode_chat(tokenizer, PROBE)
        prompt, answer = encode_prompt(tokenizer, PROBE[:3]), encode_answer(tokenizer, PROBE[3].content)
        elsewhere = bounded(lambda: tokenizer.apply_chat_template(plain, tokenize=True, return_dict=False))
    except Exception as error:  # foreign code: with contents it may do otherwise than with marks
        raise InitError(f"{place}: {error}") from error
    if ids[: len(prompt)] != prompt or ids[len(prompt) :][: len(answer)] != answer:
        raise InitError(
            f"{place}: the chat template fails the prefix property: prompt and answer are not the conversation"
        )
    if not all(mask[len(prompt) :][: len(answer)]) or answer[-1] != tokenizer.eos_token_id:
        raise InitError(f"{place}: the chat template does not close an answer with eos_token {tokenizer.eos_token!r}")
    if elsewhere != ids:
        log.warning("apply_chat_template gives other ids than training: the tokenizer is not split at template texts")
