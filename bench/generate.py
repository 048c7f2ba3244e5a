"""Decoding beside Hugging Face generate: the same model, prompts, threads and lengths, interleaved.

    python -m bench.generate [--threads 2] [--rounds 5] [--rows 64] [--static] [--only NAME]

fixed: every row writes 96 tokens. varying: prompts of 8 to 48 tokens, answers of 52 tokens on average and 128 at most;
only tokens of answers count. Both sides write answers of the same lengths, whatever the model says: ours gets a draw of
0, which falls on token 0, the end, where a row is to end; Hugging Face gets a stopping rule with the same lengths.
"""

import argparse
import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bench.measure import interleaved
from bench.peers.decoding import ending, generated, left_padded, workload
from llmtrain.models import causal
from llmtrain.models.attention import decoding
from llmtrain.rollout import sample

SIZES = {  # that of the recipe `tiny`, and the one whose figures stand in the older notes
    "4L/128 V1024": dict(layers=4, width=128, heads=4, vocab_size=1024),
    "4L/256 V4096": dict(layers=4, width=256, heads=8, vocab_size=4096),
}
END = 0


def ours(model: PreTrainedModel, prompts: list[list[int]], lengths: Tensor) -> int:
    """Tokens of answers written by the rollout engine."""
    longest = int(lengths.max())
    draws = ending(torch.rand(len(prompts), longest, generator=torch.Generator().manual_seed(1)), lengths)
    said = sample.generate(
        model, prompts, max_new_tokens=longest, temperature=1.0, eos_id=END, uniforms=draws, batch_rows=512
    )
    assert [len(c.ids) for c in said] == lengths.tolist()
    return sum(len(c.ids) for c in said)


def theirs(model: PreTrainedModel, prompts: list[list[int]], lengths: Tensor, cache: str | None = None) -> int:
    """The same by transformers: prompts padded on the left, its own cache, sampling from the plain softmax."""
    with decoding(model):
        generated(model, *left_padded(prompts), lengths, cache=cache)
    return int(lengths.sum())


def table(threads: int, rounds: int, rows: int, most: int, static: bool, only: str) -> None:
    """Print a line per architecture, size and workload."""
    torch.set_num_threads(threads)
    print(f"{rows} rows, {threads} threads, torch {torch.__version__}; tokens of answers per second, medians")
    print(f"{'model':20} {'lengths':8} {'generate':>9} {'ours':>9} {'ratio':>6} {'CPU time':>8} {'spread':>12}  rounds")
    for architecture in ("llama", "gpt2"):
        for name, size in SIZES.items():
            if only not in f"{architecture} {name}":
                continue
            model = causal.build(
                architecture, ffn_width=math.ceil(size["width"] * (8 / 3 if architecture == "llama" else 4)),
                context=256, tie_embeddings=False, embedding_std=0.5, init_std=0.0, dropout=0.0, eos_id=END,
                pad_id=None, seed=0, **size,
            )  # fmt: skip
            for varying in (False, True):
                work = (model, *(workload(rows, (8, 48), None) if varying else workload(rows, (16, 16), 96)))
                sides: dict[str, Callable[[], object]] = {
                    "theirs": partial(theirs, *work),
                    "ours": partial(ours, *work),
                }
                if static:
                    sides["static"] = partial(theirs, *work, cache="static")
                found, tokens = interleaved(sides, rounds, most), int(work[2].sum())
                print(
                    f"{architecture + ' ' + name:20} {'varying' if varying else 'fixed':8} "
                    f"{tokens / found.seconds('theirs'):9.0f} {tokens / found.seconds('ours'):9.0f} "
                    f"{found.ratio('ours', 'theirs'):6.2f} {found.ratio('ours', 'theirs', cpu=True):8.2f} "
                    f"{found.spread('theirs'):5.0%} {found.spread('ours'):5.0%}   {found.note()}"
                    + (f", static cache {tokens / found.seconds('static'):.0f}" if static else ""),
                    flush=True,
                )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="clean rounds")
    parser.add_argument("--most", type=int, default=15, help="rounds in all, where few are clean")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--static", action="store_true", help="transformers' static cache as a third side")
    parser.add_argument("--only", default="", help="part of the name of a model, such as 'llama 4L/128'")
    asked = parser.parse_args()
    table(asked.threads, asked.rounds, asked.rows, asked.most, asked.static, asked.only)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
