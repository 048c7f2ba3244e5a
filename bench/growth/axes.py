"""What grows, and the points that are measured of it. Models are of Llama's kind, from 1 to 100 million weights."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from bench.growth.point import Record, decoding, training
from tests.estimate.measured import case

PROMPT, ANSWER = 96, 32  # tokens of the rankings: an answer is a third of its prompt
SIZES = {  # weights, about: layers, width, heads of 64 units or fewer
    "1M": (4, 128, 4), "3M": (6, 192, 6), "10M": (8, 320, 5), "30M": (9, 512, 8), "100M": (14, 768, 12),
}  # fmt: skip


@dataclass(frozen=True)
class Axis:
    """x: what grows, as the pictures label it. per: the unit whose seconds are looked at, which are about a + b x.

    rate: what is counted a second. Both are words for a Record's `counts`.
    """

    name: str
    title: str
    x: str
    per: str
    rate: str
    points: dict[int, Callable[[int], Record]]  # by x; called with the rounds to measure


def powers(first: int, last: int) -> list[int]:
    return [2**n for n in range(first.bit_length() - 1, last.bit_length())]


def pretraining(length: int, vocab: int, rows: int, micro: int, size: str = "1M") -> Callable[[int], Record]:
    """Rows of `length` tokens, `micro` of them to a micro-batch."""
    layers, width, heads = SIZES[size]
    ffn = (8 * width // 3 + 15) // 16 * 16
    budget = micro * (length + 1)  # a row is read with the token behind it
    return partial(training, case("pretrain", "llama", layers, width, heads, ffn, vocab, length, rows, budget))


def ranking(answers: int) -> Callable[[int], Record]:
    """16 prompts a step, as conf/reward.yaml has it, in one micro-batch where they fit it."""
    made = case("reward", "llama", 4, 128, 4, 352, 1024, PROMPT + ANSWER, 16, 8192, answers)
    return partial(training, replace(made, prompt=PROMPT))


def axes() -> dict[str, Axis]:
    """All of them, by name, in the order of the document."""
    made: list[Any] = [
        ("sequence", "Sequence length", "tokens of a row; 8192 a step, 4096 a micro-batch", "tokens", "tokens",
         {n: pretraining(n, 1024, 8192 // n, 4096 // n) for n in powers(64, 4096)}),
        ("vocabulary", "Vocabulary", "entries; 4096 tokens a step in one micro-batch", "tokens", "tokens",
         {n: pretraining(256, n, 16, 16) for n in powers(1024, 131072)}),
        ("answers", "Answers per prompt", f"answers of {ANSWER} tokens to a prompt of {PROMPT}; 16 prompts a step",
         "prompts", "pairs", {n: ranking(n) for n in range(2, 10)}),
        ("batch", "Micro-batch", "tokens of a micro-batch, rows of 256; 32768 tokens a step", "batches", "tokens",
         {n: pretraining(256, 1024, 128, n // 256) for n in powers(512, 32768)}),
        ("model", "Model size", "parameters; 2048 tokens a step in one micro-batch", "tokens", "tokens",
         {parameters(size): pretraining(256, 1024, 8, 8, size) for size in SIZES}),
        ("decoding", "Rows decoded at once", "rows; prompts of 32 tokens, answers of 64", "steps", "tokens",
         {n: partial(decoding, n) for n in powers(1, 256)}),
    ]  # fmt: skip
    return {row[0]: Axis(*row) for row in made}


def parameters(size: str) -> int:
    return {"M": 10**6}[size[-1]] * int(size[:-1])
